"""Align the scores of several configurations and runs by image."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.statistics.variance_components import RunValues

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

SCORE_COLUMNS = ("configuration", "run", "image", "value")


@dataclass(frozen=True)
class AlignedScores:
    """Scores of the images that every configuration has.

    Attributes:
        runs: for each configuration, in order of run, the values of its images sorted by name.
        folds: True if each run has its own images.
        n_images: number of images that are compared.
    """

    runs: dict[str, RunValues]
    folds: bool
    n_images: int

    def image_means(self, configuration: str) -> Floats:
        """Mean over the runs that have the image; shape (n_images,)."""
        runs = self.runs[configuration]
        # Folds in the same order, and each sorted by name, so
        # entry i is one image in all configurations.
        return np.concatenate(runs) if self.folds else np.mean(runs, axis=0)


def align_scores(scores: "pd.DataFrame") -> AlignedScores:
    """Keep the images that are comparable, and detect whether runs are seeds or folds.

    An image without a finite value in some configuration or run is left out of all. With seeds,
    configurations may have different numbers of runs. With folds, a fold that one configuration
    lacks is left out of all: otherwise its images would count for some configurations only.

    Args:
        scores: as for `ranking.rank_configurations`.

    Raises:
        ValueError: as `ranking.rank_configurations`.
    """
    _check_scores(scores)
    images_of_run = {
        run: frozenset(run_scores["image"]) for run, run_scores in scores.groupby("run")
    }
    # disjoint sets of images mean folds: the sizes add up to the size of the union
    folds = len(images_of_run) > 1 and sum(map(len, images_of_run.values())) == len(
        frozenset().union(*images_of_run.values())
    )
    if not folds and len(set(images_of_run.values())) > 1:
        raise ValueError(
            "runs must have the same images (seeds) or no image in common (folds); "
            "these runs share only some of their images"
        )
    wide = scores.pivot(index="image", columns=["configuration", "run"], values="value")
    wide = wide.astype(np.float64)
    wide = wide.sort_index().sort_index(axis=1)
    # `dropna` keeps infinities, so they become NaN first.
    wide = wide.where(np.isfinite(wide))  # infinite values become NaN, and dropna finds them
    return _align_folds(wide) if folds else _align_seeds(wide)


def _check_scores(scores: "pd.DataFrame") -> None:
    missing = [column for column in SCORE_COLUMNS if column not in scores]
    if missing or scores.empty:
        raise ValueError(
            f"scores must have the columns {', '.join(SCORE_COLUMNS)} and at least one row"
        )
    is_duplicate = scores.duplicated(["configuration", "run", "image"])
    if is_duplicate.any():
        # `pivot` would refuse duplicates too, but its message names neither the image nor the run.
        row = scores[is_duplicate].iloc[0]
        raise ValueError(
            f"image {row['image']} occurs twice in run {row['run']} of {row['configuration']}"
        )


def _align_seeds(wide: "pd.DataFrame") -> AlignedScores:
    # Listwise: paired comparisons need the same images in every configuration and run.
    wide = wide.dropna()
    if wide.empty:
        raise ValueError("no image has a value in every run")
    table = wide.to_numpy(np.float64)
    column_configurations = wide.columns.get_level_values("configuration")
    runs = {
        str(name): tuple(table[:, column_configurations == name].T)
        for name in dict.fromkeys(column_configurations)
    }
    return AlignedScores(runs, False, len(wide))


def _align_folds(wide: "pd.DataFrame") -> AlignedScores:
    names = list(dict.fromkeys(wide.columns.get_level_values("configuration")))
    fold_of = wide.columns.get_level_values("run")
    runs: dict[str, list[Floats]] = {str(name): [] for name in names}
    n_images = 0
    for fold in sorted(set(fold_of)):
        # In sorted order, so that run i is the same fold in every configuration: the differences
        # within folds are taken position by position.
        fold_scores = wide.loc[:, fold_of == fold].dropna()
        # Fewer columns than configurations: some configuration has no trial for this fold.
        if fold_scores.shape[1] < len(names) or fold_scores.empty:
            continue
        n_images += len(fold_scores)
        for (name, _), column in fold_scores.items():
            runs[str(name)].append(column.to_numpy(np.float64))
    if not n_images:
        raise ValueError("no fold has values of every configuration")
    return AlignedScores(
        {name: tuple(fold_values) for name, fold_values in runs.items()}, True, n_images
    )
