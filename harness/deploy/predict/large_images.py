"""Prediction of TIFFs that are too large to be decoded entirely, by networks of tiles."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.data.files.large_image import LargeImage
from harness.data.files.resize import resize_image
from harness.data.windows.window import Shape, Window

_OVERVIEW_SIDE: Final = 2048  # pixels of the longer side, the most that an overlay has


class LargeImageWindows:
    """Windows of a large TIFF; the rows that were read last stay in memory.

    One thread reads, from top to bottom: each row of windows decodes its rows once.
    """

    def __init__(self, image: LargeImage, data: StudyDataConfig) -> None:
        self._image, self._data = image, data
        self._rows = slice(0, 0)
        self._band: NDArray[Any] = np.zeros((0, 0, data.channels), np.uint8)

    def shape(self, row: int) -> Shape:
        """Height, width and channels; the row is that of the only image, 0."""
        assert row == 0, "there is one image"
        return self._image.header.height, self._image.header.width, self._data.channels

    def read_image(self, row: int, window: Window) -> NDArray[Any]:
        """Window (h, w, C), values as stored. Raises DataError for a damaged file."""
        assert row == 0, "there is one image"
        rows = slice(window.top, window.top + window.height)
        if rows != self._rows:
            data = self._data
            self._band = self._image.read_image(rows, data.channels, data.range)
            self._rows = rows
        return self._band[:, window.left : window.left + window.width]


def read_overview(source: LargeImageWindows) -> NDArray[Any]:
    """The image, at most 2,048 px long, for an overlay; area averages, read in bands."""
    height, width, _ = source.shape(0)
    scale = min(1.0, _OVERVIEW_SIDE / max(height, width))
    n_rows, n_columns = max(1, round(height * scale)), max(1, round(width * scale))
    edges = np.linspace(0, height, n_rows + 1).round().astype(int).tolist()
    step = max(1, 256 * n_rows // height)
    parts = []
    for first in range(0, n_rows, step):
        last = min(first + step, n_rows)
        window = Window(edges[first], 0, edges[last] - edges[first], width)
        parts.append(resize_image(source.read_image(0, window), (last - first, n_columns)))
    return np.concatenate(parts)
