"""What trials scored on each validation image, and how sure their means over images are."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.errors import UserError
from harness.evaluation.intervals import Interval, mean_interval
from harness.evaluation.pairs import PairedTest
from harness.evaluation.values import compare_images, per_image
from harness.records import TrialRecord
from harness.report.tables import StudyTables, ranked_records
from harness.training.metrics import ImageScores, read_scores

Floats = NDArray[np.float64]

BEST = 100  # trials with intervals
QUALITY = ("dice", "iou")


def scores_of(tables: StudyTables, number: int) -> ImageScores | None:
    """The scores of a trial at its best epoch; None where `scores.csv` is missing.

    Raises:
        DataError: `scores.csv` is not one.
    """
    path = tables.paths.trial(number).scores_csv
    return read_scores(path) if path.is_file() else None


def compare_trials(
    tables: StudyTables, firsts: Sequence[int], numbers: Sequence[int]
) -> dict[tuple[int, int], PairedTest]:
    """The objective of these pairs of trials, the first minus the second, image by image.

    Args:
        firsts: trials that are compared with all that come after them in `numbers`.
        numbers: all of them.

    Returns:
        Only pairs in which both have scores; {} where the objective is no mean over images.
    """
    scores = {number: scores_of(tables, number) for number in numbers}
    known = [(number, each) for number, each in scores.items() if each is not None]
    metric = tables.config.objective.metric
    try:
        return {
            (one, other): compare_images(a, b, metric)
            for (one, a), (other, b) in combinations(known, 2)
            if one in firsts
        }
    except UserError:
        return {}


def values_of(tables: StudyTables, number: int, metric: str) -> "pd.Series[float] | None":
    """One value per validation image of a trial at its best epoch, indexed by image.

    Returns:
        None where `scores.csv` is missing or the metric is no mean over images.

    Raises:
        DataError: `scores.csv` is not one.
    """
    scores = scores_of(tables, number)
    try:
        return None if scores is None else per_image(scores, metric)
    except UserError:
        return None


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
