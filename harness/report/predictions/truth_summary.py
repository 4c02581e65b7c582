"""Shapes and objects of the masks of validation images, read once for the whole page."""

import numpy as np

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.errors import DataError
from harness.data.files.resize import Array8
from harness.data.splits.splits import SplitRow
from harness.evaluation.held_out.object_scores import (
    SizeClassCounts,
    object_columns,
    sum_object_columns,
)
from harness.report.predictions.class_pixels import ClassPixelCounts, count_class_pixels
from harness.report.predictions.image_selection import Floats, describe_shape
from harness.report.predictions.saved_predictions import LeadingModel
from harness.report.predictions.validation_files import ValidationFiles


class TruthSummary:
    """Sums over masks at eval_size, without the masks themselves.

    Attributes:
        shapes: descriptor of each mask that has foreground, by row, for variety.
        n_masks: number of masks that could be read.
        class_pixels: pixels of several classes; None for two classes or without a mask.
    """

    def __init__(self, data: StudyDataConfig) -> None:
        self._data = data
        self._columns: list[dict[str, float]] = []
        self.shapes: dict[int, Floats] = {}
        self.n_masks = 0
        self.class_pixels: ClassPixelCounts | None = None

    def add(self, row: SplitRow, files: ValidationFiles, model: LeadingModel) -> None:
        """Read a mask and its prediction; an unreadable one gets its note when it is drawn."""
        try:
            truth = files.read_truth(row)
            shape = _describe_truth(truth, self._data)
            if shape is not None:
                self.shapes[row.row] = shape
            decision = model.decision(row.row)
            self._columns += object_columns(decision, truth, self._data)
        except (DataError, OSError):
            return
        self.n_masks += 1
        if self._data.task != "binary":
            pixels = count_class_pixels(truth, decision, self._data)
            previous = self.class_pixels
            self.class_pixels = pixels if previous is None else previous + pixels

    def objects(self) -> list[SizeClassCounts]:
        """Objects by size, of all masks together."""
        if not self._columns:
            return []
        names = self._columns[0]
        return sum_object_columns(
            {name: np.array([columns[name] for columns in self._columns]) for name in names}
        )


def _describe_truth(truth: Array8, data: StudyDataConfig) -> Floats | None:
    """Descriptor of a mask for variety: size and shape, or the share of each of several classes."""
    if data.task == "binary":
        # Ignored pixels count as background, or each ignored area would be an object.
        return describe_shape(np.where(truth == IGNORE_INDEX, 0, truth).astype(np.uint8))
    if data.task == "multilabel":
        return np.asarray((truth == 1).mean(axis=(0, 1)), np.float64)
    return np.array([(truth == k).mean() for k in data.scored_classes])
