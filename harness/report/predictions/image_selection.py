"""Which validation images to show: the worst, the median, the best, and some unlike each other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

N_WORST = 2
N_VARIED = 4


@dataclass(frozen=True)
class ImageSelection:
    """An image to show and the reason."""

    row: int
    reason: str


def merge_selections(*groups: Sequence[ImageSelection]) -> list[tuple[int, tuple[str, ...]]]:
    """Each row once, in order of its first reason, with all its reasons."""
    reasons: dict[int, list[str]] = {}
    for selection in (image for group in groups for image in group):
        reasons.setdefault(selection.row, []).append(selection.reason)
    return [(row, tuple(row_reasons)) for row, row_reasons in reasons.items()]


def select_sample_images(
    dice: Mapping[int, float],
    shapes: Mapping[int, Floats],
    *,
    n_worst: int = N_WORST,
    n_varied: int = N_VARIED,
) -> list[ImageSelection]:
    """Worst, median and best by Dice, then the rows whose masks differ most from those and others.

    Args:
        dice: the score of each row with something to find, in [0, 1].
        shapes: `describe_shape` of the truth of rows; rows without one are not chosen for variety.
        n_worst: how many of the lowest scores.
        n_varied: how many for variety.

    Returns:
        Each row once, worst first; equal scores in order of row.
    """
    order = sorted(dice, key=lambda row: (dice[row], row))
    if not order:
        return []
    candidates = [(row, "worst") for row in order[:n_worst]]
    candidates += [(order[(len(order) - 1) // 2], "median"), (order[-1], "best")]
    reasons: dict[int, str] = {}
    for row, reason in candidates:
        reasons.setdefault(row, reason)
    varied_rows = select_farthest(shapes, list(reasons), n_varied)
    reasons |= dict.fromkeys(varied_rows, "for variety of shape and size")
    return [ImageSelection(row, reason) for row, reason in reasons.items()]


def select_farthest(shapes: Mapping[int, Floats], start_rows: Sequence[int], n: int) -> list[int]:
    """Up to `n` more rows, each the one farthest from all that were taken before it.

    Distances are Euclidean over descriptors divided by their standard deviations; without any start
    the first is the one farthest from the mean.
    """
    rows = sorted(shapes)
    if not rows:
        return []
    table = np.array([shapes[row] for row in rows])
    spread = table.std(axis=0)
    table = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    start_indices = [rows.index(row) for row in start_rows if row in shapes]
    starts = table[start_indices] if start_indices else np.zeros((1, table.shape[1]))
    distance = np.linalg.norm(table[:, None] - starts[None], axis=2).min(axis=1)
    distance[start_indices] = -1.0
    selected: list[int] = []
    while len(selected) < n and distance.max() >= 0:
        index = int(distance.argmax())
        selected.append(rows[index])
        distance = np.minimum(distance, np.linalg.norm(table - table[index], axis=1))
        distance[index] = -1.0
    return selected


def describe_shape(mask: NDArray[np.uint8]) -> Floats | None:
    """Size and shape of what a mask shows, None if it shows nothing.

    Args:
        mask: (H, W), 0 or 1.

    Returns:
        Shape (5,): log10 of the share of the image, log2 of the number of objects, elongation (log2
        of the ratio of the principal axes), solidity (area over convex hull, in (0, 1]), distance
        of the centroid from the middle of the image in half diagonals.
    """
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return None
    n_objects = cv2.connectedComponents(mask, connectivity=8)[0] - 1
    height, width = mask.shape
    points = np.stack([xs, ys], axis=1).astype(np.float64)
    # 1/12: the spread of one pixel's own area, so that a thin line has a finite ratio
    spread = np.linalg.eigvalsh(np.atleast_2d(np.cov(points.T, bias=True)) + np.eye(2) / 12)
    middle = points.mean(axis=0) - [(width - 1) / 2, (height - 1) / 2]
    return np.array(
        [
            math.log10(len(ys) / mask.size),
            math.log2(n_objects),
            math.log2(math.sqrt(spread[1] / spread[0])),
            _solidity(mask, len(ys)),
            math.hypot(*middle) / (math.hypot(height, width) / 2),
        ]
    )


def _solidity(mask: NDArray[np.uint8], area: int) -> float:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(np.concatenate(contours))
    filled = cv2.fillConvexPoly(np.zeros_like(mask), hull, 1)
    return area / max(int(filled.sum()), area)
