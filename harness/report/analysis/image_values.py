"""What trials scored on each validation image, and how sure their means over images are."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.config.measurements import PRIMARY_METRICS
from harness.core.errors import UserError
from harness.core.records import TrialRecord
from harness.evaluation.statistics.image_values import compare_images, per_image_values
from harness.evaluation.statistics.intervals import ConfidenceInterval, mean_interval
from harness.evaluation.statistics.paired_tests import PairedTest
from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.training.metrics.image_scores import ImageScores, read_scores

Floats = NDArray[np.float64]

N_INTERVAL_TRIALS = 100  # trials with intervals


def load_trial_scores(tables: StudyTables, number: int) -> ImageScores | None:
    """The scores of a trial at its best epoch; None where `scores.csv` is missing.

    Raises:
        DataError: `scores.csv` is not one.
    """
    path = tables.paths.trial(number).scores_csv
    return read_scores(path) if path.is_file() else None


def compare_trials(
    tables: StudyTables, first_numbers: Sequence[int], numbers: Sequence[int]
) -> dict[tuple[int, int], PairedTest]:
    """The objective of these pairs of trials, the first minus the second, image by image.

    Args:
        first_numbers: trials that are compared with all that come after them in `numbers`.
        numbers: all of them.

    Returns:
        Only pairs in which both have scores; {} where the objective is no mean over images.
    """
    scores = {number: load_trial_scores(tables, number) for number in numbers}
    scored = [
        (number, trial_scores)
        for number, trial_scores in scores.items()
        if trial_scores is not None
    ]
    metric = tables.config.objective.metric
    try:
        return {
            (first, second): compare_images(a, b, metric)
            for (first, a), (second, b) in combinations(scored, 2)
            if first in first_numbers
        }
    except UserError:
        return {}


def load_image_values(tables: StudyTables, number: int, metric: str) -> "pd.Series[float] | None":
    """One value per validation image of a trial at its best epoch, indexed by image.

    Returns:
        None where `scores.csv` is missing or the metric is no mean over images.

    Raises:
        DataError: `scores.csv` is not one.
    """
    scores = load_trial_scores(tables, number)
    try:
        return None if scores is None else per_image_values(scores, metric)
    except UserError:
        return None


def trial_mean_interval(
    tables: StudyTables, record: TrialRecord, metric: str
) -> ConfidenceInterval | None:
    """Of the mean over images of these weights; None: no scores, or fewer than 50 images."""
    values = load_image_values(tables, record.number, metric)
    return None if values is None else mean_interval(np.asarray(values, np.float64))


def quality_intervals(tables: StudyTables) -> dict[int, dict[str, ConfidenceInterval]]:
    """Intervals of mean Dice and IoU over images, of the best BEST trials, by number.

    Only those that there are.
    """
    intervals_by_trial: dict[int, dict[str, ConfidenceInterval]] = {}
    for record in ranked_records(tables)[:N_INTERVAL_TRIALS]:
        intervals = {
            metric: trial_mean_interval(tables, record, metric) for metric in PRIMARY_METRICS
        }
        intervals_by_trial[record.number] = {
            metric: interval for metric, interval in intervals.items() if interval is not None
        }
    return {number: intervals for number, intervals in intervals_by_trial.items() if intervals}


def interval_metrics(tables: StudyTables) -> dict[int, dict[str, float]]:
    """The same as metrics of trials: `best/dice_low`, `best/dice_high`, `best/iou_low`, …"""
    return {
        number: {
            f"best/{metric}_{end}": getattr(interval, end)
            for metric, interval in intervals.items()
            for end in ("low", "high")
        }
        for number, intervals in quality_intervals(tables).items()
    }
