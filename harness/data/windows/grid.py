"""Windows that cover an image, and their Gaussian weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.data.windows.window import Window

# nnU-Net and MONAI use an eighth of the side, too.
SIGMA_SHARE = 0.125

Flip = tuple[bool, bool]  # up-down, left-right
NO_FLIP: Flip = (False, False)


@dataclass(frozen=True)
class WindowGrid:
    """Square windows that cover an image from its upper left corner.

    The distance of neighbours is `side * (1 - overlap)`, rounded down to whole pixels; the last
    window of a row or column ends at the border of the image. A side of the image that is shorter
    than a window has one window, which is cut off there.

    Attributes:
        height, width: of the image, in pixels.
        side: of a window, in pixels of the image.
        overlap: share of a window that the next one covers too, below 1.
        flip: the windows are those that cover the flipped image, at their places in this one.
    """

    height: int
    width: int
    side: int
    overlap: float
    flip: Flip = NO_FLIP

    @cached_property
    def tops(self) -> tuple[int, ...]:
        """First pixel row of each row of windows, ascending."""
        return self._starts(self.height, is_flipped=self.flip[0])

    @cached_property
    def lefts(self) -> tuple[int, ...]:
        """First pixel column of each column of windows, ascending."""
        return self._starts(self.width, is_flipped=self.flip[1])

    @cached_property
    def row_weights(self) -> NDArray[np.float32]:
        """Weights (len(tops), h) of the pixel rows of each row of windows, see `axis_weights`."""
        return self._weights(self.height, is_flipped=self.flip[0])

    @cached_property
    def column_weights(self) -> NDArray[np.float32]:
        """Weights (len(lefts), w) of the pixel columns of each column of windows."""
        return self._weights(self.width, is_flipped=self.flip[1])

    def _starts(self, length: int, *, is_flipped: bool) -> tuple[int, ...]:
        starts = window_starts(length, self.side, self.overlap)
        if not is_flipped:
            return starts
        return tuple(length - min(self.side, length) - start for start in reversed(starts))

    def _weights(self, length: int, *, is_flipped: bool) -> NDArray[np.float32]:
        starts = window_starts(length, self.side, self.overlap)
        weights = axis_weights(length, self.side, starts)
        # A copy: torch takes no array of negative strides.
        return weights[::-1, ::-1].copy() if is_flipped else weights

    def window(self, n_row: int, n_column: int) -> Window:
        """Window of a row and a column of the grid."""
        return Window(
            self.tops[n_row],
            self.lefts[n_column],
            min(self.side, self.height),
            min(self.side, self.width),
        )


def window_starts(length: int, side: int, overlap: float) -> tuple[int, ...]:
    """First pixels of the windows along an axis of `length` pixels, ascending."""
    if length <= side:
        return (0,)
    step = max(1, int(side * (1 - overlap)))
    count = math.ceil((length - side) / step) + 1
    return tuple(min(k * step, length - side) for k in range(count))


def axis_weights(length: int, side: int, starts: Sequence[int]) -> NDArray[np.float32]:
    """Weights (len(starts), min(side, length)) of windows along an axis.

    Gaussian around the centre of the window, divided by the sum over all windows that contain the
    pixel: weights of a pixel add up to 1, and are exactly 1 where a single window contains it. The
    weight of a window at a pixel is the product of those of its row and its column, since a sum of
    such products over a grid is the product of the sums.
    """
    extent = min(side, length)
    distances = (np.arange(extent) - (extent - 1) / 2) / (SIGMA_SHARE * extent)
    gaussian = np.exp(-0.5 * distances**2)
    totals = np.zeros(length)
    for start in starts:
        totals[start : start + extent] += gaussian
    return np.array([gaussian / totals[s : s + extent] for s in starts], np.float32)


def count_tiles(height: int, width: int, side: int) -> int:
    """Number of windows without overlap that cover an image; 1 if it fits into one."""
    return math.ceil(height / side) * math.ceil(width / side)
