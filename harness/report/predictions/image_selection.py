"""Selection of the validation images of the gallery: from worst to best, and varied ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

N_GRADED = 6  # images from worst to best
N_VARIED = 3


@dataclass(frozen=True)
class ImageSelection:
    """Selected image and the reason for its selection."""

    row: int
    reason: str


def merge_selections(*groups: Sequence[ImageSelection]) -> list[tuple[int, tuple[str, ...]]]:
    """Merge selections into unique rows, in order of their first reason, with all reasons."""
    reasons: dict[int, list[str]] = {}
    for selection in (image for group in groups for image in group):
        reasons.setdefault(selection.row, []).append(selection.reason)
    return [(row, tuple(row_reasons)) for row, row_reasons in reasons.items()]


def select_sample_images(
    dice: Mapping[int, float],
    shapes: Mapping[int, Floats],
    *,
    n_graded: int = N_GRADED,
    n_varied: int = N_VARIED,
) -> list[ImageSelection]:
    """Select rows from worst to best by Dice, then rows whose masks differ most from these.

    Args:
        dice: score of each row with foreground, in [0, 1].
        shapes: `describe_shape` of the true masks; rows without one are not selected for variety.
        n_graded: number of rows at equal steps of the order by score, ends included.
        n_varied: number of rows for variety.

    Returns:
        Unique rows, worst first; equal scores in order of row.
    """
    graded = select_graded(dice, n_graded)
    if not graded:
        return []
    varied_rows = select_farthest(shapes, [selection.row for selection in graded], n_varied)
    varied = [ImageSelection(row, "for variety of shape and size") for row in varied_rows]
    return [*graded, *varied]


def select_graded(dice: Mapping[int, float], n: int = N_GRADED) -> list[ImageSelection]:
    """Select up to `n` rows at equal steps of the order by Dice, from the worst to the best."""
    order = sorted(dice, key=lambda row: (dice[row], row))
    last = len(order) - 1
    indices = dict.fromkeys(round(step * last / (n - 1)) for step in range(n)) if order else {}
    return [ImageSelection(order[index], _grade_name(index, last)) for index in indices]


def _grade_name(index: int, last: int) -> str:
    """Position in the order from worst (0) to best (`last`), in words."""
    if index in (0, last):
        return "worst" if index == 0 else "best"
    return f"better than {index / last:.0%} of the other images"


def select_farthest(shapes: Mapping[int, Floats], start_rows: Sequence[int], n: int) -> list[int]:
    """Select up to `n` further rows, each the farthest from all rows selected before it.

    Distances are Euclidean over descriptors divided by their standard deviations. Without a start,
    the first row is the farthest from the mean.

    Source:
        Gonzalez 1985, Clustering to minimize the maximum intercluster distance: farthest-first
        traversal, within a factor of 2 of the best cover.
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
    """Size and shape of the foreground of a mask; None if there is none.

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
    # 1/12 is the variance of a uniform distribution over one pixel's side: it adds the area of the
    # pixels to that of their centres, so that a line one pixel wide has a finite ratio of axes.
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
    # The hull is filled and counted rather than measured by cv2.contourArea, which connects pixel
    # centres: it gives 0 for a line and is too small by about half the perimeter.
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(np.concatenate(contours))
    filled = cv2.fillConvexPoly(np.zeros_like(mask), hull, 1)
    return area / max(int(filled.sum()), area)
