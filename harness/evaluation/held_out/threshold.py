"""The threshold that is best on validation images, to be frozen before any test image is opened."""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.held_out.scores import DEFAULT_THRESHOLD, ClassPlane

Floats = NDArray[np.float64]
THRESHOLDS: Final = tuple(k / 100 for k in range(5, 96))


class ThresholdSearch:
    """Takes in validation images one by one, and knows the best threshold of each class.

    The best one has the largest mean Dice over the images whose truth has the class, each at its
    own size; of equals the one nearest to 0.5, of two as near the lower.
    """

    def __init__(self, classes: Iterable[int]) -> None:
        self._sums: dict[int, Floats] = {k: np.zeros(len(THRESHOLDS)) for k in classes}
        self._images: dict[int, int] = dict.fromkeys(self._sums, 0)

    def add(self, plane: ClassPlane) -> None:
        """One class of one image."""
        if plane.y.any():
            self._sums[plane.index] += dice_by_threshold(plane.p, plane.y)
            self._images[plane.index] += 1

    def best(self) -> dict[int, float]:
        """By class; 0.5 where no image has the class."""
        return {
            index: _best_threshold(sums / self._images[index])
            if self._images[index]
            else DEFAULT_THRESHOLD
            for index, sums in self._sums.items()
        }


def dice_by_threshold(p: NDArray[np.float32], y: NDArray[np.bool_]) -> Floats:
    """2 tp / (2 tp + fp + fn) of the decisions p >= t, for each t of THRESHOLDS; y is not empty."""
    steps = np.array(THRESHOLDS, np.float32)  # as comparing fp32 with a Python float does
    n_passed = np.searchsorted(steps, p, side="right")
    n_predicted, hits = (
        np.bincount(passed, minlength=len(steps) + 1)[::-1].cumsum()[::-1][1:]
        for passed in (n_passed, n_passed[y])
    )
    return np.asarray(2 * hits / (n_predicted + y.sum()), np.float64)


def _best_threshold(means: Floats) -> float:
    # a mean of many sums is exact to 1e-12 at best: closer ones are equal
    near = [t for t, mean in zip(THRESHOLDS, means, strict=True) if mean >= means.max() - 1e-12]
    return min(near, key=lambda t: (round(abs(t - DEFAULT_THRESHOLD), 2), t))
