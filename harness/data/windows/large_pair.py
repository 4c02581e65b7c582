"""Pairs of an image and its masks that are too large for memory and are read in bands of rows."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.core.files import combine_sha256
from harness.data.files.decode import ImageFile, Samples, load_image_file, mask_samples
from harness.data.files.headers import ImageHeader
from harness.data.files.image_io import (
    PairHashes,
    check_mask_count,
    check_match,
    check_same_hashes,
    decode_image,
    file_sha256,
)
from harness.data.files.large_image import LargeImage, band_slices, open_large_image
from harness.data.files.mask_classes import MaskBand, to_classes
from harness.data.files.mask_values import JPEG_BLOCK
from harness.data.files.source import DataSource, RelativePath

Array8 = NDArray[np.uint8]

# Rows above and below a band that decide whether a value belongs to an edge.
_SURROUNDINGS: Final = JPEG_BLOCK


class PairBand(NamedTuple):
    """Rows of an image (h, W, C) and of its mask (h, W) or (h, W, K), as in `LoadedPair`."""

    rows: slice
    image: Samples
    mask: Array8


@dataclass(frozen=True, eq=False)
class LargePair:
    """An open pair of which bands are read, by one thread. A file of another format is whole."""

    image: LargeImage | ImageFile
    masks: tuple[LargeImage | ImageFile, ...]
    data: StudyDataConfig

    @property
    def header(self) -> ImageHeader:
        """Header of the image."""
        return self.image.header

    @cached_property
    def hashes(self) -> PairHashes:
        """SHA-256 of the image and of its mask, as in `PairFiles`."""
        image_hash, *mask_hashes = [_sha256(part) for part in (self.image, *self.masks)]
        return image_hash, combine_sha256(mask_hashes)

    def bands(self, hashes: PairHashes | None = None) -> Iterator[PairBand]:
        """Yield the bands from the top.

        Args:
            hashes: as for `read_pair`.

        Raises:
            DataError: as `read_pair`; also if a file changes while it is read.
        """
        self.check(hashes)
        for rows in band_slices(self.header.height):
            yield self._read_band(rows)
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise DataError if a large file was written to since it was opened."""
        for part in (self.image, *self.masks):
            if isinstance(part, LargeImage):
                part.check_unchanged()

    def middle_band(self) -> PairBand:
        """Read the band in the middle alone. Raises DataError as `bands`."""
        self.check(None)
        slices = list(band_slices(self.header.height))
        return self._read_band(slices[len(slices) // 2])

    def _read_band(self, rows: slice) -> PairBand:
        return PairBand(rows, self.read_image(rows), self.read_mask(rows))

    def read_mask(self, rows: slice) -> Array8:
        """Rows of the mask, (h, W) or (h, W, K), as in a band."""
        parts = [self._read_classes(index, rows) for index in range(len(self.masks))]
        return np.stack(parts, axis=2) if self.data.task == "multilabel" else parts[0]

    def check(self, hashes: PairHashes | None) -> None:
        """Compare hashes, number of masks and sizes. Raises DataError as `read_pair`."""
        if hashes is not None:
            check_same_hashes(self.image.path, self.hashes, hashes)
        check_mask_count([mask.path for mask in self.masks], self.data)
        for mask in self.masks:
            check_match((self.image.path, self.header), (mask.path, mask.header))
        if self.header.orientation != 1:
            raise DataError(
                f"{self.image.path}: is rotated by its EXIF orientation, and its mask is too large "
                "to be rotated; save both upright"
            )

    def read_image(self, rows: slice, columns: slice | None = None) -> Samples:
        """Window (h, w, C) of the image; all columns if none are given."""
        if isinstance(self.image, LargeImage):
            return self.image.read_image(rows, self.data.channels, self.data.range, columns)
        return self._whole_image[rows, columns or slice(None)]

    @cached_property
    def _whole_image(self) -> Samples:
        assert not isinstance(self.image, LargeImage)
        return decode_image(self.image, self.data.channels, self.data.range)

    def _read_classes(self, index: int, rows: slice) -> Array8:
        mask = self.masks[index]
        if not isinstance(mask, LargeImage):
            return self._whole_classes[index][rows]
        first = max(0, rows.start - _SURROUNDINGS)
        raw = mask.read_mask(slice(first, min(mask.header.height, rows.stop + _SURROUNDINGS)))
        counted = slice(rows.start - first, rows.stop - first)
        stored = mask.mask_facts.stored if raw.samples.ndim == 2 else None
        return to_classes(raw, self.data, mask.path, MaskBand(stored, counted))[counted]

    @cached_property
    def _whole_classes(self) -> dict[int, Array8]:
        return {
            index: to_classes(mask_samples(mask), self.data, mask.path)
            for index, mask in enumerate(self.masks)
            if not isinstance(mask, LargeImage)
        }


@contextmanager
def open_large_pair(
    source: DataSource,
    image: RelativePath,
    masks: Sequence[RelativePath],
    data: StudyDataConfig,
    max_pixels: float,
) -> Iterator[LargePair | None]:
    """Open a pair with a file that is too large to be decoded entirely; None for other pairs.

    Raises:
        DataError: as `open_large_image` and `load_image_file`.
    """
    names = (image, *masks)
    with ExitStack() as stack:
        opened = [stack.enter_context(open_large_image(source, name, max_pixels)) for name in names]
        if all(part is None for part in opened):
            yield None
            return
        first, *others = [
            load_image_file(source, name, max_pixels) if part is None else part
            for name, part in zip(names, opened, strict=True)
        ]
        yield LargePair(first, tuple(others), data)


def _sha256(part: LargeImage | ImageFile) -> str:
    return part.sha256() if isinstance(part, LargeImage) else file_sha256(part)
