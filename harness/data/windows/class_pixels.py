"""Places of the pixels of each class, so that one of them can be drawn without reading a mask."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.data.windows.window import Window, WindowSource

CELL = 64  # side of a cell in pixels: a mask of 10,000 px has 25,000 cells, 100 kB for each class
_BAND_ROWS = 16 * CELL  # of a mask that is read at once


class ClassPixel(NamedTuple):
    """Pixel of a class: index of the image, and its place there."""

    row: int
    y: int
    x: int


class ClassPixels:
    """Pixels of the foreground classes of several images, counted in cells of 64 x 64 pixels.

    A class is drawn by the inverse of its share among the pixels of all foreground classes, then
    one of its pixels in all images. A class without pixels is never drawn.

    Args:
        rows: indices of the images.

    Attributes:
        counts: (images, classes), pixels of each foreground class, in the order of `rows` and of
            `StudyDataConfig.foreground_classes`.
    """

    def __init__(self, source: WindowSource, rows: Sequence[int], data: StudyDataConfig) -> None:
        self._source, self._rows, self._data = source, list(rows), data
        classes = data.foreground_classes
        cells = [_count_cells(source, row, classes, data) for row in self._rows]
        self.counts: NDArray[np.int64] = np.array(
            [grid.sum(axis=(1, 2)) for grid in cells], np.int64
        ).reshape(len(cells), len(classes))
        self._columns = [grid.shape[2] for grid in cells]
        # First cell of each image in the row of all cells.
        self._starts = np.cumsum([0, *(grid[0].size for grid in cells)])[:-1]
        self._ends = [
            np.cumsum(np.concatenate([grid[k].ravel() for grid in cells] or [np.zeros(0, int)]))
            for k in range(len(classes))
        ]
        totals = self.counts.sum(axis=0).astype(np.float64)
        inverse = np.divide(1.0, totals, out=np.zeros(len(classes)), where=totals > 0)
        self._shares = inverse / inverse.sum() if inverse.any() else None

    @property
    def is_empty(self) -> bool:
        """True if no image contains any foreground class."""
        return self._shares is None

    def draw(self, generator: np.random.Generator) -> ClassPixel:
        """Draw a pixel. The images must contain some foreground."""
        assert self._shares is not None, "no image contains any foreground class"
        k = int(generator.choice(len(self._shares), p=self._shares))
        target = int(generator.integers(self._ends[k][-1]))
        cell = int(np.searchsorted(self._ends[k], target, side="right"))
        n = int(np.searchsorted(self._starts, cell, side="right")) - 1
        y, x = (CELL * part for part in divmod(cell - int(self._starts[n]), self._columns[n]))
        height, width, _ = self._source.shape(self._rows[n])
        window = Window(y, x, min(CELL, height - y), min(CELL, width - x))
        has_class = class_map(
            self._source.read_mask(self._rows[n], window),
            self._data.foreground_classes[k],
            self._data,
        )
        before = target - (int(self._ends[k][cell - 1]) if cell else 0)
        offset = int(np.flatnonzero(has_class)[before])
        return ClassPixel(self._rows[n], y + offset // window.width, x + offset % window.width)


def class_map(mask: NDArray[np.uint8], index: int, data: StudyDataConfig) -> NDArray[np.bool_]:
    """True (h, w) at the pixels of a class in a mask (h, w), or (h, w, K) of a multilabel task."""
    return np.asarray(mask[..., index] == 1 if data.task == "multilabel" else mask == index)


def _count_cells(
    source: WindowSource, row: int, classes: Sequence[int], data: StudyDataConfig
) -> NDArray[np.int64]:
    """Pixels of each class in each cell of an image: (classes, cell rows, cell columns)."""
    height, width, _ = source.shape(row)
    bands = []
    for top in range(0, height, _BAND_ROWS):
        window = Window(top, 0, min(_BAND_ROWS, height - top), width)
        mask = source.read_mask(row, window)
        edges_y, edges_x = np.arange(0, window.height, CELL), np.arange(0, width, CELL)
        bands.append(
            np.stack(
                [
                    np.add.reduceat(
                        np.add.reduceat(
                            class_map(mask, index, data).astype(np.int64), edges_y, axis=0
                        ),
                        edges_x,
                        axis=1,
                    )
                    for index in classes
                ]
            )
        )
    return np.concatenate(bands, axis=1)
