"""Dice of the leading trials by the size of what is to be found."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.report.tables import StudyTables, ranked_records
from harness.training.metrics import ImageScores, per_image, read_scores

EDGES = (0.01, 0.05, 0.15)  # shares of the image
CLASSES = ("< 1 %", "1–5 %", "5–15 %", "> 15 %")
N_TRIALS = 3


@dataclass(frozen=True)
class Stratum:
    """One trial in one class of size: its mean Dice over `n` images; None where n is 0."""

    number: int
    size: str
    dice: float | None
    n: int


def size_class(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index into CLASSES of each share of the image; a share on an edge belongs above it."""
    return np.asarray(np.searchsorted(EDGES, shares, side="right"), np.int64)


def strata(tables: StudyTables) -> list[Stratum]:
    """The leading trials that kept their scores, best first, each with every class of size.

    The size of an object is Σy / eval_size²: how much of the image its class covers. Images with
    nothing to find are in no stratum; in tasks of several classes each image counts once for each
    class that its truth has.
    """
    rows: list[Stratum] = []
    for record in ranked_records(tables)[:N_TRIALS]:
        path = tables.paths.trial(record.number).scores_csv
        if path.is_file():
            rows += _of_trial(record.number, read_scores(path), tables.config.data.eval_size)
    return rows


def _of_trial(number: int, scores: ImageScores, eval_size: int) -> list[Stratum]:
    dice = per_image(scores)["dice"][scores.has_truth]
    sizes = size_class(scores.sum_y[scores.has_truth] / eval_size**2)
    rows = []
    for index, name in enumerate(CLASSES):
        some = dice[sizes == index]
        mean = float(some.mean()) if some.size else None
        rows.append(Stratum(number, name, mean, int(some.size)))
    return rows
