"""Connected objects of a mask of which bands of rows are read."""

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.core.union_find import DisjointSet

Stats = NDArray[np.int64]  # a row for each object: left, top, width, height, area


class ComponentCounter:
    """Objects of a plane (8 neighbours), the same as if the whole plane were labelled together."""

    def __init__(self) -> None:
        self._n = 0
        self._parts: list[Stats] = []
        self._links: list[NDArray[np.int64]] = []
        self._last_row: NDArray[np.int64] | None = None

    def add(self, top: int, plane: NDArray[np.uint8]) -> None:
        """Add rows (h, W) of 0 and 1 that begin at row `top`, below those added before."""
        n, labels, stats, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
        part = np.array(stats[1:], np.int64)  # the first row is the background
        part[:, cv2.CC_STAT_TOP] += top
        self._parts.append(part)
        # Numbers from 1 in all bands together; 0 is the background.
        first_row, last_row = (
            np.where(row > 0, row.astype(np.int64) + self._n, 0) for row in (labels[0], labels[-1])
        )
        if self._last_row is not None:
            self._link(self._last_row, first_row)
        self._last_row, self._n = last_row, self._n + n - 1

    def _link(self, above: NDArray[np.int64], below: NDArray[np.int64]) -> None:
        """Record objects that touch across the border of two bands."""
        width = len(above)
        for shift in (-1, 0, 1):
            left, right = max(0, -shift), max(0, shift)
            upper, lower = above[left : width - right], below[right : width - left]
            touching = (upper > 0) & (lower > 0)
            self._links.append(np.unique(np.stack([upper, lower], 1)[touching], axis=0))

    def stats(self) -> Stats:
        """Boxes and areas of all objects."""
        if not self._n:
            return np.zeros((0, 5), np.int64)
        parts = np.concatenate(self._parts)
        groups = DisjointSet(self._n)
        for upper, lower in np.concatenate([np.zeros((0, 2), np.int64), *self._links]).tolist():
            groups.union(upper - 1, lower - 1)
        _, owner = np.unique(groups.representatives(), return_inverse=True)
        n = int(owner.max()) + 1
        corners = parts[:, :2], parts[:, :2] + parts[:, 2:4]
        starts, ends = np.full((n, 2), np.iinfo(np.int64).max), np.zeros((n, 2), np.int64)
        np.minimum.at(starts, owner, corners[0])
        np.maximum.at(ends, owner, corners[1])
        areas = np.bincount(owner, weights=parts[:, 4], minlength=n).astype(np.int64)
        return np.concatenate([starts, ends - starts, areas[:, None]], axis=1)
