"""Score one large image in bands: the numbers of `scores`, without a float for each pixel.

The first pass over the bands sums probabilities and keeps the decisions, a byte for each pixel. The
second reads the truth once more and compares it with the decisions after their clean-up.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.data.files.decide import DecisionPlanes
from harness.data.files.large_image import band_slices
from harness.data.files.object_matches import BandMatches
from harness.evaluation.decision.step_effects import cumulative_rules
from harness.evaluation.held_out.object_scores import matched_columns
from harness.evaluation.held_out.predicted_image import PredictedImage
from harness.evaluation.held_out.scores import (
    CHOSEN_COLUMNS,
    CLEANED_COLUMNS,
    DEFAULT_THRESHOLD,
    EXTRA_COLUMNS,
    StretchedCounts,
    class_pixels,
    confusion_counts,
    count_without_specks,
    counted_pixels,
    step_columns,
)
from harness.training.metrics.image_scores import ScoreEntry

Array8 = NDArray[np.uint8]


class ScoredClass(NamedTuple):
    """Entry of one class in a scores.csv, and its additional columns."""

    entry: ScoreEntry
    extra: dict[str, float]


def score_large(
    row: tuple[int, str],
    image: PredictedImage,
    read_mask: Callable[[slice], Array8],
    data: StudyDataConfig,
    rule: DecisionRule | None,
    thresholds: dict[int, float] | None,
) -> list[ScoredClass]:
    """Score each class; the arguments are those of `ImageEvaluator.score_images` for one image.

    Args:
        row: number and name of the image.
        read_mask: reads rows of the truth.
        thresholds: threshold by class; None: no `CHOSEN_COLUMNS`.
    """
    planes = DecisionPlanes(plain_rule(data) if rule is None else rule, image.size)
    sums = [_ClassSums(index, data, thresholds) for index in data.scored_classes]
    for band in image.bands:
        planes.add(band.rows.start, band.p)
        counted = counted_pixels(band.mask)
        argmax = band.p.argmax(axis=0) if data.task == "multiclass" else None
        for of_class in sums:
            of_class.add(band.p, argmax, band.mask, counted)
    columns, matches = _compare_decisions(planes, read_mask, image.size, data)
    scored = []
    for of_class, cleaned, objects in zip(sums, columns, matches, strict=True):
        matched = objects.matches()
        n_objects = count_without_specks(matched.true_areas)
        extra = of_class.columns(image.size, n_objects) | cleaned
        extra |= matched_columns(matched, of_class.index, data)
        scored.append(ScoredClass(of_class.entry(*row), extra))
    return scored


def plain_rule(data: StudyDataConfig) -> DecisionRule:
    """The rule without thresholds of its own and without clean-up."""
    return DecisionRule(task=data.task, classes=tuple(ClassDecision() for _ in data.scored_classes))


class _ClassSums:
    """Sums of one class over the bands of an image."""

    def __init__(
        self, index: int, data: StudyDataConfig, thresholds: dict[int, float] | None
    ) -> None:
        self.index = index
        self._plane = 0 if data.task == "binary" else index
        self._threshold = None if thresholds is None else thresholds[index]
        self._p = np.zeros(3)  # sums of p y, p and y
        self._plain, self._chosen = np.zeros(4, np.int64), np.zeros(4, np.int64)
        self._stretched = StretchedCounts()

    def add(
        self,
        p: NDArray[np.float32],
        argmax: NDArray[np.int64] | None,
        mask: Array8,
        counted: NDArray[np.bool_],
    ) -> None:
        """Add a band: probabilities (K, h, W) and truth."""
        plane, y = p[self._plane][counted], class_pixels(mask, self.index)[counted]
        predicted = plane >= DEFAULT_THRESHOLD if argmax is None else argmax[counted] == self.index
        wide = plane.astype(np.float64)
        self._p += (wide[y].sum(), wide.sum(), y.sum())
        self._plain += confusion_counts(predicted, y)
        if self._threshold is not None:
            self._chosen += confusion_counts(plane >= self._threshold, y)
        self._stretched.add(plane, y)

    def entry(self, row: int, image: str) -> ScoreEntry:
        """Class, sums and counts, as by `make_entry`."""
        sum_py, sum_p, sum_y = self._p.tolist()
        tp, fp, fn, tn = self._plain.tolist()
        return (row, image, self.index, sum_py, sum_p, sum_y, tp, fp, fn, tn)

    def columns(self, size: tuple[int, int], n_objects: int) -> dict[str, float]:
        """As `extra_columns`."""
        values = (float(size[0]), float(size[1]), float(n_objects), *self._stretched.means())
        columns = dict(zip(EXTRA_COLUMNS, values, strict=True))
        if self._threshold is not None:
            columns |= dict(zip(CHOSEN_COLUMNS, map(float, self._chosen), strict=True))
        return columns


def _compare_decisions(
    planes: DecisionPlanes,
    read_mask: Callable[[slice], Array8],
    size: tuple[int, int],
    data: StudyDataConfig,
) -> tuple[list[dict[str, float]], list[BandMatches]]:
    """Counts after each clean-up step, as `cleaned_columns`, and the objects of the decision."""
    columns: list[dict[str, float]] = [{} for _ in data.scored_classes]
    matches = [BandMatches() for _ in data.scored_classes]
    partial_rules = [partial for *_, partial in cumulative_rules(planes.rule)]
    for number, partial in enumerate(partial_rules or [planes.rule], start=1):
        is_last = number >= len(partial_rules)
        decision, counts = planes.mask(partial), np.zeros((len(columns), 4), np.int64)
        for rows in band_slices(size[0]):
            mask = read_mask(rows)
            counted = counted_pixels(mask)
            for position, index in enumerate(data.scored_classes):
                truth = class_pixels(mask, index)
                decided = class_pixels(decision[rows], index)
                counts[position] += confusion_counts(decided[counted], truth[counted])
                if is_last:
                    matches[position].add(truth & counted, decided & counted)
        if partial_rules:
            names = CLEANED_COLUMNS if is_last else step_columns(number)
            for of_class, values in zip(columns, counts, strict=True):
                of_class |= dict(zip(names, map(float, values), strict=True))
    return columns, matches
