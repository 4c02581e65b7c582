"""Pixels of each class in masks and predictions, and which classes are confused."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.data.files.resize import Array8

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClassPixelCounts:
    """Pixels of all images together, at eval_size; ignored pixels are left out.

    Attributes:
        n_pixels: number of pixels that count.
        truth: pixels of each class in the masks, shape (K,).
        predicted: pixels of each class in the predictions, shape (K,).
        confusion: pixels by true class (rows) and predicted class (columns), shape (K, K); None if
            classes may overlap.
    """

    n_pixels: int
    truth: Counts
    predicted: Counts
    confusion: Counts | None

    def __add__(self, other: "ClassPixelCounts") -> "ClassPixelCounts":
        confusion = None
        if self.confusion is not None and other.confusion is not None:
            confusion = self.confusion + other.confusion
        return ClassPixelCounts(
            self.n_pixels + other.n_pixels,
            self.truth + other.truth,
            self.predicted + other.predicted,
            confusion,
        )


def count_class_pixels(truth: Array8, decision: Array8, data: StudyDataConfig) -> ClassPixelCounts:
    """Count the pixels of one image.

    Args:
        truth: class indices (E, E), or planes (E, E, K) of a multilabel task, with IGNORE_INDEX.
        decision: prediction of the same shape.
    """
    n = len(data.classes)
    if data.task == "multilabel":
        counts = (truth != IGNORE_INDEX).all(axis=2)
        true, predicted = truth[counts] == 1, decision[counts] == 1
        return ClassPixelCounts(
            int(counts.sum()), true.sum(axis=0, dtype=np.int64), predicted.sum(axis=0), None
        )
    counts = truth != IGNORE_INDEX
    pairs = n * truth[counts].astype(np.int64) + decision[counts]
    confusion = np.bincount(pairs, minlength=n * n).reshape(n, n)
    return ClassPixelCounts(
        int(counts.sum()), confusion.sum(axis=1), confusion.sum(axis=0), confusion
    )
