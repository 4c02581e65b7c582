"""Tiles: windows of images, resized and padded to the input of a network."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.study import TileConfig
from harness.data.files.resize import Box, Size, pad_to, resize_image, resize_mask
from harness.data.windows.grid import NO_FLIP, Flip, WindowGrid, count_tiles
from harness.data.windows.window import Shape, Window


class ImageWindows(Protocol):
    """Images of which windows are read; a `WindowSource` without masks."""

    def shape(self, row: int) -> Shape:
        """Height, width and channels of image `row`."""

    def read_image(self, row: int, window: Window) -> NDArray[Any]:
        """Window (h, w, C) of an image, values as stored."""


@dataclass(frozen=True)
class TileGeometry:
    """Side of a tile at the network and in an image.

    Attributes:
        size: at the network, in pixels.
        side: in the image, in pixels: `size / scale`, rounded.
        overlap: share of a window that the next one covers too.
    """

    size: int
    side: int
    overlap: float

    def grid(self, shape: Shape, flip: Flip = NO_FLIP) -> WindowGrid:
        """The windows of an image, or of its flipped copy, in validation and prediction."""
        return WindowGrid(shape[0], shape[1], self.side, self.overlap, flip)

    def fits(self, shape: Shape) -> bool:
        """True if an image is no larger than one tile."""
        return max(shape[:2]) <= self.side

    def count(self, shape: Shape) -> int:
        """Number of tiles that cover an image without overlap: its windows in an epoch."""
        return count_tiles(shape[0], shape[1], self.side)

    def content(self, window: Window) -> Size:
        """Height and width of a window at the network; the rest of the input is padding."""
        if self.side == self.size:
            return window.height, window.width
        factor = self.size / self.side
        return max(1, round(window.height * factor)), max(1, round(window.width * factor))

    def read_image(
        self, source: ImageWindows, row: int, window: Window, flip: Flip = NO_FLIP
    ) -> tuple[NDArray[Any], Box]:
        """Input (size, size, C) of a window, with the box of its content; padding is 0.

        Args:
            flip: the window is flipped before any other step.
        """
        content = self.content(window)
        image = resize_image(flip_image(source.read_image(row, window), flip), content)
        return pad_to(image, (self.size, self.size), 0), (0, 0, *content)

    def fit_mask(
        self, mask: NDArray[np.uint8], window: Window, data: StudyDataConfig
    ) -> NDArray[np.uint8]:
        """Mask (size, size[, K]) of a window; padding as in `ImageCache.masks`."""
        resized = resize_mask(mask, self.content(window), nearest=data.uses_nearest_resize)
        padding = IGNORE_INDEX if data.task == "multiclass" else 0
        return np.asarray(pad_to(resized, (self.size, self.size), padding), np.uint8)


def flip_image(image: NDArray[Any], flip: Flip) -> NDArray[Any]:
    """Flip an image (H, W, C) or (H, W)."""
    axes = tuple(axis for axis, is_flipped in enumerate(flip) if is_flipped)
    # np.flip gives a view with negative strides, which OpenCV and torch refuse.
    return np.ascontiguousarray(np.flip(image, axes)) if axes else image


def tile_geometry(tile: TileConfig) -> TileGeometry | None:
    """Geometry of the tiles of a configuration; None: it uses whole images."""
    if tile.size is None:
        return None
    return TileGeometry(tile.size, max(1, round(tile.size / tile.scale)), tile.overlap)
