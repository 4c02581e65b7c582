"""Images that are read by window, so that no whole picture is in memory: large TIFFs."""

import hashlib
import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import PurePath
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.data.files.byte_reader import FileBytes
from harness.data.files.decode import (
    RawMask,
    Samples,
    alpha_error,
    channel_spread,
    check_channels,
    mask_colours,
    select_channels,
)
from harness.data.files.geotiff import GeoTag, read_geo_tags
from harness.data.files.headers import ImageHeader, tiff_header
from harness.data.files.image_io import check_depth
from harness.data.files.mask_values import Numbers, colour_codes, value_counts
from harness.data.files.source import DataSource, RelativePath
from harness.data.files.tiff import TiffReader
from harness.data.files.tiff_layout import TiffLayout, read_tiff_layout

# Images up to this size are decoded entirely, which is faster: 50 MB in three channels.
WHOLE_PIXELS: Final = 1 << 24
_MAX_PIXELS: Final = 1 << 35  # of an image that is read by window
BAND_ROWS: Final = 256
_TIFF_SUFFIXES: Final = (".tif", ".tiff")
_TIFF_STARTS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class MaskFacts(NamedTuple):
    """Facts about all samples of a mask file.

    Attributes:
        is_grey: True if the colours of all pixels are grey.
        stored: values of grey or of a palette, ascending; 0xRRGGBB of colours.
    """

    is_grey: bool
    stored: Numbers


class LargeImage:
    """An open TIFF of which windows are read, by one thread.

    Attributes:
        path: name in messages.
    """

    def __init__(self, path: PurePath, handle: io.BufferedReader, layout: TiffLayout) -> None:
        self.path = path
        self.header: ImageHeader = tiff_header(layout)
        self._handle, self._colours = handle, layout.colours
        self._state = _file_state(handle)
        self._bytes = FileBytes(handle, self._state[0])
        self._reader = TiffReader(self._bytes, layout)

    @property
    def segment_size(self) -> tuple[int, int]:
        """Height and width of the parts that are decoded together, in pixels."""
        return self._reader.segment_size

    def geo_tags(self) -> tuple[GeoTag, ...]:
        """Coordinate system and position of a GeoTIFF; () of other images."""
        return read_geo_tags(self._bytes)

    def sha256(self) -> str:
        """SHA-256 of the file, read in blocks."""
        self._handle.seek(0)
        return hashlib.file_digest(self._handle, "sha256").hexdigest()

    def check_unchanged(self) -> None:
        """Raise DataError if the file was written to since it was opened."""
        if _file_state(self._handle) != self._state:
            raise DataError(f"{self.path}: has changed while it was read; restore the file")

    def read_image(
        self,
        rows: slice,
        channels: int,
        value_range: tuple[float, float],
        columns: slice | None = None,
    ) -> Samples:
        """Read a window as `read_image` of `image_io` reads the whole.

        Raises:
            DataError: damaged; other channels, or 16 bits where `value_range` ends at 255.
        """
        check_channels(self.path, self.header, channels)
        check_depth(self.path, self.header, value_range)
        stored = self._read(rows, columns)
        if self._colours is not None:
            stored = self._colours[stored[..., 0]]
        samples = select_channels(stored, self.header, channels)
        return samples.astype(np.uint16, copy=False) if value_range[1] > 255 else samples

    def read_mask(self, rows: slice) -> RawMask:
        """Read rows of a mask, as `mask_samples` reads all of them.

        Raises:
            DataError: damaged, or of a kind that is no mask.
        """
        is_grey = self.mask_facts.is_grey
        samples = self._read(rows)
        if self._colours is not None:
            return RawMask(samples[..., 0], lossless=True, palette=self._colours)
        return RawMask(samples[..., 0] if is_grey else samples[..., :3], lossless=True)

    @cached_property
    def mask_facts(self) -> MaskFacts:
        """Values of the mask, from a pass over all of its bands."""
        n_colours = 1 if self._colours is not None else mask_colours(self.path, self.header)
        counts = np.zeros(1 << self.header.bits, np.int64)
        seen = np.zeros(1 << 24 if n_colours == 3 else 0, bool)
        is_grey, alphas = True, set[int]()
        for rows in band_slices(self.header.height):
            samples = self._read(rows)
            counts += value_counts(samples[..., 0])
            if n_colours == 3:
                is_grey = is_grey and channel_spread(samples[..., :3]) == 0
                seen[colour_codes(samples)] = True
            if self.header.alpha:
                alphas |= {int(samples[..., -1].min()), int(samples[..., -1].max())}
        stored = np.flatnonzero(counts if is_grey else seen)
        if is_grey and len(stored) == 1 and len(alphas) > 1:
            raise alpha_error(self.path)
        return MaskFacts(is_grey, stored)

    def _read(self, rows: slice, columns: slice | None = None) -> NDArray[Any]:
        left, right = (0, self.header.width) if columns is None else (columns.start, columns.stop)
        try:
            return self._reader.read(rows.start, left, rows.stop - rows.start, right - left)
        except ValueError as error:
            raise DataError(f"{self.path}: {error}") from None
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror}") from error


def band_slices(height: int) -> Iterator[slice]:
    """Slices of up to BAND_ROWS rows, from the top."""
    for top in range(0, height, BAND_ROWS):
        yield slice(top, min(top + BAND_ROWS, height))


@contextmanager
def open_large_image(
    source: DataSource, name: RelativePath, max_pixels: float
) -> Iterator[LargeImage | None]:
    """Open a TIFF that is too large to be decoded entirely; None for every other file.

    Args:
        max_pixels: most pixels of a strip or tile, which cannot be decoded in parts.

    Raises:
        DataError: unreadable, damaged or not supported.
    """
    path = source.root / name
    # The name only decides whether a first look pays: a TIFF of another name is decoded entirely.
    if path.suffix.lower() not in _TIFF_SUFFIXES:
        yield None
        return
    try:
        size = source.size(name)
        handle = source.open(name)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    with handle:
        yield _large_image(path, handle, size, max_pixels)


def _large_image(
    path: PurePath, handle: io.BufferedIOBase, size: int, max_pixels: float
) -> LargeImage | None:
    if not isinstance(handle, io.BufferedReader) or handle.peek(4)[:4] not in _TIFF_STARTS:
        return None
    try:
        layout = read_tiff_layout(FileBytes(handle, size))
        n_pixels = layout.height * layout.width
        if n_pixels <= WHOLE_PIXELS:
            return None
        image = LargeImage(path, handle, layout)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, struct.error) as error:
        raise DataError(f"{path}: {error}") from None
    rows, columns = image.segment_size
    if n_pixels > _MAX_PIXELS or rows * columns > max_pixels:
        raise DataError(
            f"{path}: {layout.width}x{layout.height} in parts of {columns}x{rows} is more than "
            f"{max_pixels:,.0f} pixels at once; save it in tiles, or raise limits.max_pixels"
        )
    return image


def _file_state(handle: io.BufferedReader) -> tuple[int, int]:
    """Size and time of the last change."""
    status = os.fstat(handle.fileno())
    return status.st_size, status.st_mtime_ns
