"""What trials scored on each validation image, and how sure their means over images are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.errors import UserError
from harness.evaluation.intervals import Interval, mean_interval
from harness.evaluation.values import per_image, per_image_of_all
from harness.records import TrialRecord
from harness.report.tables import StudyTables, ranked_records
from harness.training.metrics import read_scores

Floats = NDArray[np.float64]

BEST = 100  # trials with intervals
QUALITY = ("dice", "iou")


def common_values(
    tables: StudyTables, numbers: Sequence[int], metric: str
) -> "dict[int, pd.Series[float]]":
    """The values of those of these trials that have them, over the same images and classes.

    Raises:
        DataError: a `scores.csv` is not one.
    """
    paths = {number: tables.paths.trial(number).scores_csv for number in numbers}
    scores = {number: read_scores(path) for number, path in paths.items() if path.is_file()}
    try:
        return dict(zip(scores, per_image_of_all(list(scores.values()), metric), strict=True))
    except UserError:  # a metric that is no mean over images
        return {}


def values_of(tables: StudyTables, number: int, metric: str) -> "pd.Series[float] | None":
    """One value per validation image of a trial at its best epoch, indexed by image.

    Returns:
        None where `scores.csv` is missing or the metric is no mean over images.

    Raises:
        DataError: `scores.csv` is not one.
    """
    path = tables.paths.trial(number).scores_csv
    if not path.is_file():
        return None
    scores = read_scores(path)
    try:
        return per_image(scores, metric)
    except UserError:
        return None


def paired(a: "pd.Series[float]", b: "pd.Series[float]") -> tuple[Floats, Floats]:
    """Both on the images of `a`, in their order; NaN where `b` has no value."""
    return (
        np.asarray(a.to_numpy(), np.float64),
        np.asarray(b.reindex(a.index).to_numpy(), np.float64),
    )


def own_interval(tables: StudyTables, record: TrialRecord, metric: str) -> Interval | None:
    """Of the mean over images of these weights; None: no scores, or fewer than 50 images."""
    values = values_of(tables, record.number, metric)
    return None if values is None else mean_interval(np.asarray(values, np.float64))


def quality_intervals(tables: StudyTables) -> dict[int, dict[str, Interval]]:
    """Intervals of mean Dice and IoU over images, of the best BEST trials, by number.

    Only those that there are.
    """
    found: dict[int, dict[str, Interval]] = {}
    for record in ranked_records(tables)[:BEST]:
        each = {metric: own_interval(tables, record, metric) for metric in QUALITY}
        found[record.number] = {metric: one for metric, one in each.items() if one is not None}
    return {number: each for number, each in found.items() if each}


def interval_metrics(tables: StudyTables) -> dict[int, dict[str, float]]:
    """The same as metrics of trials: `best/dice_low`, `best/dice_high`, `best/iou_low`, …"""
    return {
        number: {
            f"best/{metric}_{end}": getattr(one, end)
            for metric, one in each.items()
            for end in ("low", "high")
        }
        for number, each in quality_intervals(tables).items()
    }
