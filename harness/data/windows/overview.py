"""Reduce large images while their bands are read."""

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.data.files.decode import Samples
from harness.data.files.image_io import LoadedPair, PairHashes, read_pair
from harness.data.files.large_image import band_slices
from harness.data.files.resize import Size, resize_channels, resize_image
from harness.data.files.source import DataSource, RelativePath
from harness.data.windows.large_pair import LargePair, open_large_pair
from harness.data.windows.tiles import ImageWindows
from harness.data.windows.window import Window

Array8 = NDArray[np.uint8]

_SHORT_SIDE: Final = 1024  # px of an overview: characters and panels are looked for below it
_LONG_SIDE: Final = 4096


class AreaReduction:
    """Image whose pixels are means of areas, as INTER_AREA computes them from the whole image.

    Args:
        shape: (H, W, ...) of the image.
        size: height and width of the result, at most H and W.
    """

    def __init__(self, shape: tuple[int, ...], size: Size) -> None:
        self._size, self._scale = size, shape[0] / size[0]
        self._means = np.zeros((*size, *shape[2:]), np.float32)

    def add(self, top: int, band: NDArray[Any]) -> None:
        """Add rows (h, W, ...) that begin at row `top`."""
        height = band.shape[0]
        narrow = resize_channels(
            band.astype(np.float32), (height, self._size[1]), cv2.INTER_AREA
        ).reshape(height, -1)
        first = int(top / self._scale)
        last = min(int(np.ceil((top + height) / self._scale)), self._size[0])
        targets = np.arange(first, last)[:, None] * self._scale
        rows = top + np.arange(height)[None]
        overlap = np.minimum(rows + 1, targets + self._scale) - np.maximum(rows, targets)
        weights = (np.clip(overlap, 0, None) / self._scale).astype(np.float32)
        self._means[first:last] += (weights @ narrow).reshape(self._means[first:last].shape)

    def image(self, dtype: Any) -> NDArray[Any]:
        """Means rounded to a type of integers."""
        limits = np.iinfo(dtype)
        return np.rint(self._means).clip(limits.min, limits.max).astype(dtype)

    def mask(self) -> NDArray[np.uint8]:
        """1 where at least half of the area of a plane in {0, 1} is 1."""
        return (self._means >= 0.5).astype(np.uint8)


class NearestReduction:
    """Mask whose pixels are those at the centres of areas, as INTER_NEAREST_EXACT takes them."""

    def __init__(self, shape: tuple[int, ...], size: Size) -> None:
        self._rows, self._columns = (
            ((2 * np.arange(n) + 1) * side // (2 * n)).astype(np.int64)
            for n, side in zip(size, shape[:2], strict=True)
        )
        self._mask = np.zeros((*size, *shape[2:]), np.uint8)

    def add(self, top: int, band: NDArray[np.uint8]) -> None:
        """Add rows (h, W, ...) that begin at row `top`."""
        inside = (self._rows >= top) & (self._rows < top + band.shape[0])
        self._mask[inside] = band[self._rows[inside] - top][:, self._columns]

    def mask(self) -> NDArray[np.uint8]:
        """The reduced mask."""
        return self._mask


def overview_size(height: int, width: int) -> Size:
    """Height and width of the overview of an image, which keeps its aspect ratio."""
    short, long = sorted((height, width))
    scale = min(1.0, _SHORT_SIDE / short, _LONG_SIDE / long)
    return max(1, round(height * scale)), max(1, round(width * scale))


def read_pair_or_overview(
    source: DataSource,
    image: RelativePath,
    masks: Sequence[RelativePath],
    data: StudyDataConfig,
    max_pixels: float,
) -> LoadedPair:
    """Read a pair, or the overview of a large one: enough for a picture on a page.

    Raises:
        DataError: as `read_pair`.
    """
    with open_large_pair(source, image, masks, data, max_pixels) as large:
        if large is not None:
            return read_overview(large)
    return read_pair(source, image, masks, data, max_pixels)


def read_overview(pair: LargePair) -> LoadedPair:
    """Read a large pair at the size of its overview.

    Raises:
        DataError: as `LargePair.bands`.
    """
    size = overview_size(pair.header.height, pair.header.width)
    image, (mask,) = reduce_pair(pair, size, [size], nearest=True)
    return LoadedPair(image, mask, *pair.hashes)


def read_reduced(source: ImageWindows, row: int, size: Size) -> Samples:
    """Read an image of a window source at (height, width), in bands if it is reduced.

    It differs from `resize_image` of the whole by rounding alone.
    """
    height, width, channels = source.shape(row)
    if size[0] > height or size[1] > width:  # longer in one direction: no area to average
        return resize_image(source.read_image(row, Window(0, 0, height, width)), size)
    reduction, dtype = AreaReduction((height, width, channels), size), np.dtype(np.uint8)
    for rows in band_slices(height):
        window = Window(rows.start, 0, rows.stop - rows.start, width)
        band = source.read_image(row, window)
        reduction.add(rows.start, band)
        dtype = band.dtype
    return reduction.image(dtype)


def reduce_pair(
    pair: LargePair,
    image_size: Size,
    mask_sizes: Sequence[Size],
    *,
    nearest: bool,
    hashes: PairHashes | None = None,
) -> tuple[Samples, list[Array8]]:
    """Reduce an image and its mask, each to (height, width), in one pass over their bands.

    The image differs from `resize_image` of the whole by rounding alone.

    Args:
        mask_sizes: a mask is returned for each.
        nearest: as for `resize_mask`.
        hashes: as for `read_pair`.

    Raises:
        DataError: as `LargePair.bands`.
    """
    size, data = (pair.header.height, pair.header.width), pair.data
    planes = () if data.n_mask_planes is None else (data.n_mask_planes,)
    reduction = NearestReduction if nearest else AreaReduction
    image = AreaReduction((*size, data.channels), image_size)
    masks = [reduction((*size, *planes), mask_size) for mask_size in mask_sizes]
    for band in pair.bands(hashes):
        image.add(band.rows.start, band.image)
        for mask in masks:
            mask.add(band.rows.start, band.mask)
    dtype = np.uint16 if data.bit_depth == 16 else np.uint8
    return image.image(dtype), [mask.mask() for mask in masks]
