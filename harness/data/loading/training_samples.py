"""Training images before augmentation: whole ones from the cache, or windows of larger ones."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.config.study import TileConfig
from harness.data.files.packed_array import PackedArray
from harness.data.files.resize import Box
from harness.data.windows.class_pixels import ClassPixels
from harness.data.windows.tiles import TileGeometry, tile_geometry
from harness.data.windows.window import Window, WindowSource

Array8 = NDArray[np.uint8]
_WINDOW_STREAM = 7  # tells the seeds of windows from those of augmentation


class Sample(NamedTuple):
    """One training image.

    Attributes:
        image: (h, w, C), uint8 or uint16.
        mask: (h, w) or (h, w, K).
        box: of the content inside (h, w).
    """

    image: NDArray[Any]
    mask: Array8
    box: Box


class SampleReader(Protocol):
    """Reads the images that an `EpochOrder` draws; several threads may call it."""

    def __call__(self, index: int, occurrence: int, epoch: int) -> Sample:
        """Read image `index`, which was drawn `occurrence` times before in this epoch."""


class CachedSamples:
    """Whole images of a cache.

    Args:
        images, masks, boxes: as in `ImageCache`; no boxes: no image is padded.
    """

    def __init__(
        self,
        images: NDArray[Any] | PackedArray,
        masks: Array8 | PackedArray,
        boxes: NDArray[np.int64] | None = None,
    ) -> None:
        self._images, self._masks, self._boxes = images, masks, boxes

    def __call__(self, index: int, occurrence: int, epoch: int) -> Sample:
        image = self._images[index]
        height, width = int(image.shape[0]), int(image.shape[1])
        if self._boxes is None:
            return Sample(image, self._masks[index], (0, 0, height, width))
        top, left, box_height, box_width = self._boxes[index].tolist()
        return Sample(image, self._masks[index], (top, left, box_height, box_width))


class TileSamples:
    """Random windows of images at their own resolution.

    An image that fits into a window is used as a whole. Of the other windows, the share
    `foreground` is centred on a pixel of a foreground class in any of the larger images (see
    `ClassPixels`); the rest lie anywhere in the image that the epoch's order names. A window
    depends on the seed, the epoch, the image and its earlier draws in that epoch.

    Args:
        indices: of the training images in `source`.
        tile: its size is set.
    """

    def __init__(
        self,
        source: WindowSource,
        indices: Sequence[int] | NDArray[np.integer],
        tile: TileConfig,
        data: StudyDataConfig,
        seed: int,
    ) -> None:
        geometry = tile_geometry(tile)
        assert geometry is not None, "without tiles, images come from a cache"
        self._source, self._geometry, self._data, self._seed = source, geometry, data, seed
        self._indices = [int(index) for index in indices]
        large = [row for row in self._indices if not geometry.fits(source.shape(row))]
        self._foreground = tile.foreground
        pixels = ClassPixels(source, large, data) if large and tile.foreground > 0 else None
        self._pixels = None if pixels is None or pixels.is_empty else pixels

    @property
    def counts(self) -> NDArray[np.float64]:
        """Windows of each training image in an epoch: as many as cover it without overlap."""
        return np.array(
            [self._geometry.count(self._source.shape(row)) for row in self._indices], np.float64
        )

    def __call__(self, index: int, occurrence: int, epoch: int) -> Sample:
        row, window = self.window(index, occurrence, epoch)
        image, box = self._geometry.read_image(self._source, row, window)
        mask = self._geometry.fit_mask(self._source.read_mask(row, window), window, self._data)
        return Sample(image, mask, box)

    def window(self, index: int, occurrence: int, epoch: int) -> tuple[int, Window]:
        """Image and window of a draw."""
        if self._geometry.fits(self._source.shape(index)):
            return index, whole_window(self._source, index)
        generator = np.random.default_rng([self._seed, epoch, index, occurrence, _WINDOW_STREAM])
        if self._pixels is not None and generator.random() < self._foreground:
            row, y, x = self._pixels.draw(generator)
            return row, _centred_window(self._source.shape(row), self._geometry, y, x)
        height, width, _ = self._source.shape(index)
        extent = min(self._geometry.side, height), min(self._geometry.side, width)
        top, left = (
            int(generator.integers(length - part + 1))
            for length, part in zip((height, width), extent, strict=True)
        )
        return index, Window(top, left, *extent)


def whole_window(source: WindowSource, row: int) -> Window:
    """The window that shows all of an image."""
    height, width, _ = source.shape(row)
    return Window(0, 0, height, width)


def _centred_window(shape: tuple[int, int, int], geometry: TileGeometry, y: int, x: int) -> Window:
    """The window around a pixel, moved into the image at its border."""
    height, width = min(geometry.side, shape[0]), min(geometry.side, shape[1])
    top = min(max(y - height // 2, 0), shape[0] - height)
    left = min(max(x - width // 2, 0), shape[1] - width)
    return Window(top, left, height, width)
