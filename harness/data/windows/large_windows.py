"""Windows of a large image whose rows that were read last stay in memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.data.files.large_image import LargeImage
from harness.data.windows.large_pair import LargePair
from harness.data.windows.window import Shape, Window


class LargeImageWindows:
    """Windows of a large TIFF, or of the image of a large pair.

    One thread reads, from top to bottom: each row of windows decodes its rows once.
    """

    def __init__(self, image: LargeImage | LargePair, data: StudyDataConfig) -> None:
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
            self._band, self._rows = self._read_rows(rows), rows
        return self._band[:, window.left : window.left + window.width]

    def _read_rows(self, rows: slice) -> NDArray[Any]:
        if isinstance(self._image, LargePair):
            return self._image.read_image(rows)
        return self._image.read_image(rows, self._data.channels, self._data.range)
