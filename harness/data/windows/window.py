"""Windows of images and masks at native size, and the sources that read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.data.files.image_io import read_pair
from harness.data.files.source import DataSource
from harness.data.splits.split_file import SplitRow

Shape = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True)
class Window:
    """Rectangle of an image, in pixels at native size. It lies inside the image; callers pad."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array with."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )


class WindowSource(Protocol):
    """Images and masks at native size, upright, of which windows are read.

    Index i is the position in the rows that the source was opened with, as in `ImageCache`.
    Several threads may read simultaneously.
    """

    def __len__(self) -> int:
        """Number of images."""

    def shape(self, row: int) -> Shape:
        """Height, width and channels of image `row`."""

    def read_image(self, row: int, window: Window) -> NDArray[Any]:
        """Window (h, w, C) of an image: uint8 or uint16, values as stored, as in `ImageCache`."""

    def read_mask(self, row: int, window: Window) -> NDArray[np.uint8]:
        """Window (h, w) of class indices with IGNORE_INDEX, or (h, w, K) in {0, 1}."""


def check_window(window: Window, shape: Shape) -> None:
    """Raise ValueError if a window is empty or does not lie inside an image of `shape`."""
    (top, bottom), (left, right) = (
        (window.top, window.top + window.height),
        (window.left, window.left + window.width),
    )
    if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
        raise ValueError(f"{window} does not lie inside {shape[1]}x{shape[0]} pixels")


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """Window source of whole images and masks in memory."""

    images: Sequence[NDArray[Any]]
    masks: Sequence[NDArray[np.uint8]]

    def __len__(self) -> int:
        return len(self.images)

    def shape(self, row: int) -> Shape:
        """Height, width and channels of image `row`."""
        height, width, channels = self.images[row].shape
        return height, width, channels

    def read_image(self, row: int, window: Window) -> NDArray[Any]:
        """Copy of a window of an image."""
        check_window(window, self.shape(row))
        return self.images[row][window.slices].copy()

    def read_mask(self, row: int, window: Window) -> NDArray[np.uint8]:
        """Copy of a window of a mask."""
        check_window(window, self.shape(row))
        return self.masks[row][window.slices].copy()


def decode_images(
    source: DataSource, rows: Sequence[SplitRow], data: StudyDataConfig, max_pixels: float
) -> DecodedImages:
    """Decode the images and masks of all rows into memory.

    Raises:
        DataError: as `read_pair`.
    """
    pairs = [read_pair(source, row.image, row.masks, data, max_pixels, row.hashes) for row in rows]
    return DecodedImages([pair.image for pair in pairs], [pair.mask for pair in pairs])
