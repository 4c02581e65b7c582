"""Scores of trials on each validation image, and intervals of their means over images."""

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

N_INTERVAL_TRIALS = 100  # each interval takes 2,000 resamples, so only the best trials get one


def load_trial_scores(tables: StudyTables, number: int) -> ImageScores | None:
    """Scores of a trial at its best epoch; None if `scores.csv` is missing.

    Raises:
        DataError: `scores.csv` is invalid.
    """
    path = tables.paths.trial(number).scores_csv
    return read_scores(path) if path.is_file() else None


def compare_trials(
    tables: StudyTables, first_numbers: Sequence[int], numbers: Sequence[int]
) -> dict[tuple[int, int], PairedTest]:
    """Paired tests of the objective for pairs of trials, the first minus the second.

    Args:
        first_numbers: trials that are compared with all later ones in `numbers`.
        numbers: all trials, in order.

    Returns:
        Only pairs in which both have scores; {} if the objective is not a mean over images.
    """
    scores = {n: s for n in numbers if (s := load_trial_scores(tables, n)) is not None}
    try:
        return {
            (first, second): compare_images(a, b, tables.config.objective.metric)
            # In the order of `numbers`, so each pair is tested once, always as the better-ranked
            # trial minus the other one: the sign of the difference has a fixed meaning.
            for (first, a), (second, b) in combinations(scores.items(), 2)
            if first in first_numbers
        }
    except UserError:
        return {}


def load_image_values(tables: StudyTables, number: int, metric: str) -> "pd.Series[float] | None":
    """One value per validation image of a trial at its best epoch, indexed by image.

    Returns:
        None if `scores.csv` is missing or the metric is not a mean over images.

    Raises:
        DataError: `scores.csv` is invalid.
    """
    scores = load_trial_scores(tables, number)
    try:
        return None if scores is None else per_image_values(scores, metric)
    except UserError:
        return None


def trial_mean_interval(
    tables: StudyTables, record: TrialRecord, metric: str
) -> ConfidenceInterval | None:
    """Interval of a trial's mean over images; None without scores or below 50 images."""
    values = load_image_values(tables, record.number, metric)
    # The default seed of the bootstrap: the interval of
    # unchanged scores is the same in every report.
    return None if values is None else mean_interval(np.asarray(values, np.float64))


def quality_intervals(tables: StudyTables) -> dict[int, dict[str, ConfidenceInterval]]:
    """Intervals of mean Dice and IoU over images, by number, of the best N_INTERVAL_TRIALS trials.

    Trials without any interval are left out.
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
    """`quality_intervals` as metrics of trials: `best/dice_low`, `best/dice_high`, …"""
    return {
        number: {
            f"best/{metric}_{end}": getattr(interval, end)
            for metric, interval in intervals.items()
            for end in ("low", "high")
        }
        for number, intervals in quality_intervals(tables).items()
    }
