"""Seam index: how often decisions change at the borders of windows, against everywhere else."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.data.windows.grid import WindowGrid

Bools = NDArray[np.bool_]


class SeamCounter:
    """Counts neighbouring pixels whose decisions differ, at the borders of windows and elsewhere.

    Windows that know nothing of each other decide differently on both sides of a border. Averaging
    where they overlap hides that; an index near 1 says that no border can be seen in the masks.
    """

    def __init__(self) -> None:
        # Differing and all pairs: at borders, and elsewhere.
        self._differing, self._pairs = np.zeros(2, np.int64), np.zeros(2, np.int64)
        self._last_row: NDArray[np.integer] | None = None

    def start_image(self, grid: WindowGrid) -> None:
        """Begin an image, whose bands follow from top to bottom."""
        self._last_row = None
        self._row_borders = _borders(grid.tops, grid.side, grid.height)
        self._column_borders = _borders(grid.lefts, grid.side, grid.width)

    def add_band(self, top: int, decisions: NDArray[np.integer]) -> None:
        """Add the decisions (K, rows, W) of a band, integers or booleans, from pixel row `top`."""
        columns = (decisions[:, :, 1:] != decisions[:, :, :-1]).any(axis=0)
        self._add(columns.sum(axis=0), columns.shape[0], self._column_borders, 1)
        if self._last_row is not None:
            decisions = np.concatenate([self._last_row[:, None], decisions], axis=1)
            top -= 1
        rows = (decisions[:, 1:] != decisions[:, :-1]).any(axis=0)
        self._add(rows.sum(axis=1), rows.shape[1], self._row_borders, top + 1)
        self._last_row = decisions[:, -1]

    def index(self) -> float | None:
        """Share of differing pairs at borders, divided by that elsewhere; None without either."""
        if not self._pairs.all() or not self._differing[1]:
            return None
        at_borders, elsewhere = self._differing / self._pairs
        return float(at_borders / elsewhere)

    def _add(
        self, differing: NDArray[np.integer], n_pairs: int, borders: NDArray[np.int64], first: int
    ) -> None:
        """Add the differing pairs of each line of pixels; line 0 lies before pixel `first`."""
        is_border = np.isin(np.arange(first, first + len(differing)), borders)
        for k, chosen in enumerate((is_border, ~is_border)):
            self._differing[k] += int(differing[chosen].sum())
            self._pairs[k] += n_pairs * int(chosen.sum())


def _borders(starts: Sequence[int], side: int, length: int) -> NDArray[np.int64]:
    """First pixels after a line at which a window begins or ends, inside the image."""
    lines = {*starts, *(start + side for start in starts)}
    return np.array(sorted(line for line in lines if 0 < line < length), np.int64)
