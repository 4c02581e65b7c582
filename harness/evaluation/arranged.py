"""Scores of several configurations and runs, brought into the same order of images."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.evaluation.differences import Runs

Floats = NDArray[np.float64]

COLUMNS = ("configuration", "run", "image", "value")


@dataclass(frozen=True)
class Arranged:
    """The values that every configuration has.

    Attributes:
        runs: of each configuration, in order of run: the values of its images, in order of name.
        folds: whether each run has images of its own.
        n_images: how many images count.
    """

    runs: dict[str, Runs]
    folds: bool
    n_images: int

    def image_means(self, configuration: str) -> Floats:
        """Shape (n_images,): the mean over the runs that have the image."""
        runs = self.runs[configuration]
        return np.concatenate(runs) if self.folds else np.mean(runs, axis=0)


def arrange(scores: pd.DataFrame) -> Arranged:
    """Sort the scores out.

    An image without a finite value in some configuration or run is left out of all. With seeds,
    configurations may have different numbers of runs; a fold that is missing from one is left out
    of all, as its images are no harder there than elsewhere.

    Args:
        scores: as in `configurations.decide`.

    Raises:
        ValueError: see there.
    """
    _check(scores)
    held = {run: frozenset(of["image"]) for run, of in scores.groupby("run")}
    folds = len(held) > 1 and sum(map(len, held.values())) == len(frozenset().union(*held.values()))
    if not folds and len(set(held.values())) > 1:
        raise ValueError(
            "runs must have the same images (seeds) or no image in common (folds); "
            "these have some in common"
        )
    wide = scores.pivot(index="image", columns=["configuration", "run"], values="value")
    wide = wide.astype(np.float64)
    wide = wide.sort_index().sort_index(axis=1)
    wide = wide.where(np.isfinite(wide))
    return _folds(wide) if folds else _seeds(wide)


def _check(scores: pd.DataFrame) -> None:
    absent = [column for column in COLUMNS if column not in scores]
    if absent or scores.empty:
        raise ValueError(f"scores need the columns {', '.join(COLUMNS)} and at least one row")
    twice = scores.duplicated(["configuration", "run", "image"])
    if twice.any():
        row = scores[twice].iloc[0]
        raise ValueError(
            f"image {row['image']} stands twice in run {row['run']} of {row['configuration']}"
        )


def _seeds(wide: pd.DataFrame) -> Arranged:
    wide = wide.dropna()
    if wide.empty:
        raise ValueError("no image has a value in every run")
    table = wide.to_numpy(np.float64)
    owner = wide.columns.get_level_values("configuration")
    runs = {str(name): tuple(table[:, owner == name].T) for name in dict.fromkeys(owner)}
    return Arranged(runs, False, len(wide))


def _folds(wide: pd.DataFrame) -> Arranged:
    names = list(dict.fromkeys(wide.columns.get_level_values("configuration")))
    fold_of = wide.columns.get_level_values("run")
    runs: dict[str, list[Floats]] = {str(name): [] for name in names}
    n_images = 0
    for fold in sorted(set(fold_of)):
        of_fold = wide.loc[:, fold_of == fold].dropna()
        if of_fold.shape[1] < len(names) or of_fold.empty:
            continue
        n_images += len(of_fold)
        for (name, _), column in of_fold.items():
            runs[str(name)].append(column.to_numpy(np.float64))
    if not n_images:
        raise ValueError("no fold has values of every configuration")
    return Arranged({name: tuple(each) for name, each in runs.items()}, True, n_images)
