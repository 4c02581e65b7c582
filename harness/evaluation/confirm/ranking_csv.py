"""`confirm/ranking.csv`: a confirmation as a table, every digit."""

import csv
import io

from harness.core import files
from harness.core.paths import StudyPaths
from harness.evaluation.confirm.results import Confirmation
from harness.evaluation.statistics.image_values import NATIVE_METRICS

RANKING_COLUMNS = (
    *("rank", "trial", "runs", "searched", "confirmed", "low", "high", "optimism", "deviation"),
    *("verdict", "choice", "parameters", "seconds", "own_dice", "own_iou"),
)


def write_ranking_csv(paths: StudyPaths, confirmation: Confirmation) -> None:
    """Write `confirm/ranking.csv`: one row per configuration, best first; floats exactly."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(RANKING_COLUMNS)
    choice = confirmation.choice
    for rank, row in enumerate(confirmation.rows, start=1):
        low, high = (row.interval.low, row.interval.high) if row.interval else (None, None)
        numbers = [row.searched, row.mean, low, high, row.optimism, row.deviation]
        is_choice = "yes" if choice is not None and choice.trial == row.trial else "no"
        writer.writerow(
            [rank, row.trial, len(row.values)]
            + ["" if number is None else repr(float(number)) for number in numbers]
            + [row.verdict, is_choice, row.cost.parameters, repr(float(row.cost.seconds))]
            + [repr(row.own[key]) if key in row.own else "" for key in NATIVE_METRICS]
        )
    files.write_text(paths.confirm.ranking_csv, text.getvalue())
