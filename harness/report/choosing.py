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
class Chosen:
    """An image to show and the reason."""

    row: int
    why: str


def gather(*groups: Sequence[Chosen]) -> list[tuple[int, tuple[str, ...]]]:
    """Each row once, in order of its first reason, with all its reasons."""
    reasons: dict[int, list[str]] = {}
    for chosen in (one for group in groups for one in group):
        reasons.setdefault(chosen.row, []).append(chosen.why)
    return [(row, tuple(whys)) for row, whys in reasons.items()]


def choose_images(
    dice: Mapping[int, float],
    shapes: Mapping[int, Floats],
    *,
    n_worst: int = N_WORST,
    n_varied: int = N_VARIED,
) -> list[Chosen]:
    """Worst, median and best by Dice, then the rows whose masks differ most from those and others.

    Args:
        dice: the score of each row with something to find, in [0, 1].
        shapes: `describe` of the truth of rows; rows without one are not chosen for variety.
        n_worst: how many of the lowest scores.
        n_varied: how many for variety.

    Returns:
        Each row once, worst first; equal scores in order of row.
    """
    order = sorted(dice, key=lambda row: (dice[row], row))
    if not order:
        return []
    wanted = [(row, "worst") for row in order[:n_worst]]
    wanted += [(order[(len(order) - 1) // 2], "median"), (order[-1], "best")]
    chosen: dict[int, str] = {}
    for row, why in wanted:
        chosen.setdefault(row, why)
    varied = farthest(shapes, list(chosen), n_varied)
    chosen |= dict.fromkeys(varied, "for variety of shape and size")
    return [Chosen(row, why) for row, why in chosen.items()]


def farthest(shapes: Mapping[int, Floats], chosen: Sequence[int], n: int) -> list[int]:
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
    taken = [rows.index(row) for row in chosen if row in shapes]
    starts = table[taken] if taken else np.zeros((1, table.shape[1]))
    distance = np.linalg.norm(table[:, None] - starts[None], axis=2).min(axis=1)
    distance[taken] = -1.0
    found: list[int] = []
    while len(found) < n and distance.max() >= 0:
        place = int(distance.argmax())
        found.append(rows[place])
        distance = np.minimum(distance, np.linalg.norm(table - table[place], axis=1))
        distance[place] = -1.0
    return found


def describe(mask: NDArray[np.uint8]) -> Floats | None:
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
