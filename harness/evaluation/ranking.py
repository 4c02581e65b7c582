"""`confirm/ranking.csv`: a confirmation as a table, every digit."""

import csv
import io

from harness import files
from harness.evaluation.confirmed import Confirmation
from harness.evaluation.values import OWN_METRICS
from harness.paths import StudyPaths

RANKING = (
    *("rank", "trial", "runs", "searched", "confirmed", "low", "high", "optimism", "deviation"),
    *("verdict", "choice", "parameters", "seconds", "own_dice", "own_iou"),
)


def write_ranking(paths: StudyPaths, confirmation: Confirmation) -> None:
    """Write `confirm/ranking.csv`: one row per configuration, best first; floats exactly."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(RANKING)
    choice = confirmation.choice
    for rank, row in enumerate(confirmation.rows, start=1):
        low, high = (row.interval.low, row.interval.high) if row.interval else (None, None)
        numbers = [row.searched, row.mean, low, high, row.optimism, row.deviation]
        chosen = "yes" if choice is not None and choice.trial == row.trial else "no"
        writer.writerow(
            [rank, row.trial, len(row.values)]
            + ["" if number is None else repr(float(number)) for number in numbers]
            + [row.verdict, chosen, row.cost.parameters, repr(float(row.cost.seconds))]
            + [repr(row.own[key]) if key in row.own else "" for key in OWN_METRICS]
        )
    files.write_text(paths.confirm.ranking_csv, text.getvalue())
