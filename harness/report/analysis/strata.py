"""Dice of the leading trials by the size of what is to be found."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.training.metrics.image_scores import ImageScores, metrics_per_entry, read_scores

SIZE_EDGES = (0.01, 0.05, 0.15)  # shares of the image
SIZE_CLASSES = ("< 1 %", "1–5 %", "5–15 %", "> 15 %")
N_TRIALS = 3


@dataclass(frozen=True)
class SizeStratum:
    """One trial in one class of size: its mean Dice over `n` images; None where n is 0."""

    number: int
    size: str
    dice: float | None
    n: int


def size_class_index(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index into CLASSES of each share of the image; a share on an edge belongs above it."""
    return np.asarray(np.searchsorted(SIZE_EDGES, shares, side="right"), np.int64)


def dice_by_size(tables: StudyTables) -> list[SizeStratum]:
    """The leading trials that kept their scores, best first, each with every class of size.

    The size of an object is Σy / eval_size²: how much of the image its class covers. Images with
    nothing to find are in no stratum; in tasks of several classes each image counts once for each
    class that its truth has.
    """
    rows: list[SizeStratum] = []
    for record in ranked_records(tables)[:N_TRIALS]:
        path = tables.paths.trial(record.number).scores_csv
        if path.is_file():
            rows += _trial_strata(record.number, read_scores(path), tables.config.data.eval_size)
    return rows


def _trial_strata(number: int, scores: ImageScores, eval_size: int) -> list[SizeStratum]:
    dice = metrics_per_entry(scores)["dice"][scores.has_truth]
    sizes = size_class_index(scores.sum_y[scores.has_truth] / eval_size**2)
    rows = []
    for index, name in enumerate(SIZE_CLASSES):
        class_dice = dice[sizes == index]
        mean = float(class_dice.mean()) if class_dice.size else None
        rows.append(SizeStratum(number, name, mean, int(class_dice.size)))
    return rows
