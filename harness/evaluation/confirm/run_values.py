"""The objective of confirming trials, image by image."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.core.errors import UserError
from harness.evaluation.statistics.alignment import SCORE_COLUMNS
from harness.evaluation.statistics.image_values import per_image_values_of_all
from harness.training.metrics.image_scores import ImageScores, read_scores


def read_run_values(
    runs: Sequence[tuple[str, int, Path]], metric: str, *, folds: bool
) -> pd.DataFrame:
    """The objective per configuration, run and image, as `decide` takes it.

    Runs that validate on the same images have the same images and classes.

    Args:
        runs: name of the configuration, number of the seed or fold, and `scores.csv` of each.
        metric: the objective.
        folds: whether only the runs of a fold have the same images; else all runs have them.

    Raises:
        UserError: a file is missing, or no image has a value.
        DataError: a file is not a `scores.csv`.
    """
    groups: dict[int, list[tuple[str, int, Path]]] = {}
    for run in runs:
        groups.setdefault(run[1] if folds else 0, []).append(run)
    frames = []
    for group in groups.values():
        values_per_run = per_image_values_of_all(
            [_read_existing_scores(path) for *_, path in group], metric
        )
        for (name, part, _), values in zip(group, values_per_run, strict=True):
            columns = {"image": values.index, "value": values.to_numpy()}
            frames.append(pd.DataFrame(columns).assign(configuration=name, run=part))
    nonempty_frames = [frame for frame in frames if len(frame)]
    if not nonempty_frames:
        raise UserError(f"no validation image has a value of {metric}, so nothing can be compared")
    return pd.concat(nonempty_frames, ignore_index=True)[list(SCORE_COLUMNS)]


def _read_existing_scores(path: Path) -> ImageScores:
    if not path.is_file():
        raise UserError(f"{path}: is missing, so images cannot be compared; put it back")
    return read_scores(path)
