"""Bounds on the pixels that a multiclass network confuses, from sums per image and class."""

import numpy as np
from numpy.typing import NDArray

from harness.training.metrics.image_scores import ImageScores

Floats = NDArray[np.float64]


def confusion_bounds(scores: ImageScores, n_classes: int) -> tuple[Floats, Floats]:
    """Least and greatest number of pixels of class a that were predicted as class b, (K, K) each.

    `scores.csv` has the pixels that each class of an image lost (fn) and gained (fp), not where
    they went. With T wrong pixels in an image, at least fn_a + fp_b + max(fp_a, fn_b) - T of them
    went from a to b, since the other classes can take or give no more than their own share, and at
    most min(fn_a, fp_b). The bounds are summed over images; they are equal with two classes.

    Raises:
        ValueError: the entries are not all classes of one image after the other.
    """
    if scores.class_index.tolist() != list(range(n_classes)) * (len(scores) // n_classes):
        raise ValueError("scores must hold all classes of one image after the other")
    lost, gained = (
        part.reshape(-1, n_classes).astype(np.float64) for part in (scores.fn, scores.fp)
    )
    total = lost.sum(axis=1)
    # Every wrong pixel is lost by one class and gained by another; sums for which that is not so
    # come from another rule than argmax and say nothing here.
    consistent = total == gained.sum(axis=1)
    lost, gained, total = lost[consistent], gained[consistent], total[consistent]
    pairs = lost[:, :, None] + gained[:, None, :] - total[:, None, None]
    least = np.maximum(pairs + np.maximum(gained[:, :, None], lost[:, None, :]), 0)
    greatest = np.minimum(lost[:, :, None], gained[:, None, :])
    off_diagonal = 1 - np.eye(n_classes)
    return least.sum(axis=0) * off_diagonal, greatest.sum(axis=0) * off_diagonal
