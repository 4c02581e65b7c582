"""Validation images and masks as the gallery shows them; large files are read in bands."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from harness.config.data import StudyDataConfig
from harness.data.files.decode import Samples
from harness.data.files.image_io import read_pair, read_upright_mask
from harness.data.files.large_image import band_slices
from harness.data.files.overlay import as_rgb
from harness.data.files.resize import Array8, Size, resize_image, resize_truth
from harness.data.files.source import DataSource
from harness.data.splits.splits import SplitRow
from harness.data.windows.large_pair import LargePair, open_large_pair
from harness.data.windows.overview import AreaReduction, NearestReduction, read_overview
from harness.data.windows.window import Window


@dataclass(frozen=True, eq=False)
class ImageOverview:
    """Image and truth of one row, reduced.

    Attributes:
        image: RGB, uint8 (side, side, 3).
        truth: mask at eval_size.
        size: height and width of the original.
    """

    image: Array8
    truth: Array8
    size: Size


@dataclass(frozen=True)
class ValidationFiles:
    """Files of the validation split. Errors are those of `read_pair`: DataError, OSError."""

    source: DataSource
    data: StudyDataConfig
    max_pixels: float

    def read_truth(self, row: SplitRow) -> Array8:
        """Mask at eval_size."""
        with self._open(row) as large:
            if large is not None:
                return self._reduce_mask(large)
        mask = read_upright_mask(self.source, row.image, row.masks, self.data, self.max_pixels)
        return self._resize(mask)

    def read_overview(self, row: SplitRow, side: int) -> ImageOverview:
        """Image of `side` pixels and mask at eval_size, if the files are those of the split."""
        with self._open(row) as large:
            if large is not None:
                large.check(row.hashes)
                size = large.header.height, large.header.width
                image, truth = read_overview(large).image, self._reduce_mask(large)
                return ImageOverview(self._as_panel(image, side), truth, size)
        pair = self._read_pair(row)
        size = (pair[0].shape[0], pair[0].shape[1])
        return ImageOverview(self._as_panel(pair[0], side), self._resize(pair[1]), size)

    def read_window(self, row: SplitRow, window: Window) -> tuple[Array8, Array8]:
        """RGB image (h, w, 3) and mask of a window at native size."""
        rows, columns = window.slices
        with self._open(row) as large:
            if large is not None:
                image, mask = large.read_image(rows, columns), large.read_mask(rows)[:, columns]
                return as_rgb(image, self.data.range), mask
        image, mask = self._read_pair(row)
        return as_rgb(image[rows, columns], self.data.range), mask[rows, columns]

    def _open(self, row: SplitRow) -> AbstractContextManager[LargePair | None]:
        return open_large_pair(self.source, row.image, row.masks, self.data, self.max_pixels)

    def _read_pair(self, row: SplitRow) -> tuple[Samples, Array8]:
        pair = read_pair(self.source, row.image, row.masks, self.data, self.max_pixels, row.hashes)
        return pair.image, pair.mask

    def _resize(self, mask: Array8) -> Array8:
        return resize_truth(mask, self.data.eval_size, nearest=self.data.uses_nearest_resize)

    def _as_panel(self, image: Samples, side: int) -> Array8:
        return np.asarray(resize_image(as_rgb(image, self.data.range), (side, side)), np.uint8)

    def _reduce_mask(self, large: LargePair) -> Array8:
        planes = () if self.data.n_mask_planes is None else (self.data.n_mask_planes,)
        shape = (large.header.height, large.header.width, *planes)
        size = (self.data.eval_size, self.data.eval_size)
        kind = NearestReduction if self.data.uses_nearest_resize else AreaReduction
        reduction = kind(shape, size)
        for rows in band_slices(large.header.height):
            reduction.add(rows.start, large.read_mask(rows))
        return reduction.mask()
