"""Decode the samples of a TIFF with tifffile, all or those of a window, and encode masks.

tifffile receives a new directory built from checked values, never the file's own. The module stands
alone because it alone imports tifffile.
"""

import io
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from harness.data.files.byte_reader import ByteReader, MemoryBytes
from harness.data.files.geotiff import GeoTag
from harness.data.files.headers import read_jpeg_header
from harness.data.files.tiff_directory import TiffTag
from harness.data.files.tiff_layout import (
    GREY,
    JPEG,
    WHITE_IS_ZERO,
    TiffLayout,
    read_tiff_layout,
)
from harness.data.files.tiff_segments import split_strips, touched_segments

_MASK_TILE: Final = 256


def decode_tiff(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a TIFF to (H, W, samples) in native byte order; 0 is black.

    A palette image gives indices. One bit becomes 0 or 255, as in other formats.

    Raises:
        ValueError, struct.error: as `read_tiff_layout`; also for a damaged strip or tile.
    """
    layout = read_tiff_layout(data)
    return TiffReader(MemoryBytes(data), layout).read(0, 0, layout.height, layout.width)


def encode_tiff_mask(
    mask: NDArray[np.uint8], tags: Sequence[GeoTag], palette: NDArray[np.uint8] | None = None
) -> bytes:
    """Encode a mask (H, W) as a tiled GeoTIFF with the tags of its image.

    Args:
        palette: RGB colours (n, 3) of the indices in the mask; None: the values are grey.
    """
    colours = None
    if palette is not None:
        colours = np.zeros((3, 256), np.uint16)
        colours[:, : len(palette)] = 257 * palette.T.astype(np.uint16)
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        mask,
        photometric="minisblack" if colours is None else "palette",
        colormap=colours,
        tile=(_MASK_TILE, _MASK_TILE),
        compression="zlib",
        software=False,
        metadata=None,
        extratags=[(tag.code, tag.kind, tag.count, tag.values, True) for tag in tags],
    )
    return file.getvalue()


class TiffReader:
    """Samples of a TIFF by window, decoded from the strips or tiles that the window touches.

    Those of the last window stay in memory, so that the next window continues in them.
    """

    def __init__(self, reader: ByteReader, layout: TiffLayout) -> None:
        self._reader, self._layout = reader, split_strips(layout)
        self._decode = _segment_decoder(self._layout)
        self._segments: dict[int, NDArray[Any]] = {}

    @property
    def segment_size(self) -> tuple[int, int]:
        """Height and width of the parts that are decoded together, in pixels."""
        return self._layout.segment_size

    @property
    def n_held_samples(self) -> int:
        """Number of decoded samples in memory."""
        return sum(segment.size for segment in self._segments.values())

    def read(
        self, top: int, left: int, height: int, width: int
    ) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Samples (height, width, samples) of a window inside the image, as `decode_tiff`.

        Raises:
            ValueError: a damaged strip or tile.
        """
        layout = self._layout
        dtype = np.uint16 if layout.bits == 16 else np.uint8
        image = np.empty((height, width, layout.samples), dtype)
        is_partial = (height, width) != (layout.height, layout.width)
        last, self._segments = self._segments, {}
        for index, y, x, channels in touched_segments(layout, top, left, height, width):
            segment = last[index] if index in last else self._decode_segment(index)
            if is_partial:
                self._segments[index] = segment
            # Tiles at the right and bottom edge are padded to full size; the region cuts them.
            above, before = max(top - y, 0), max(left - x, 0)
            region = image[
                max(y - top, 0) : y - top + segment.shape[0],
                max(x - left, 0) : x - left + segment.shape[1],
                channels,
            ]
            region[...] = segment[above:, before:][: region.shape[0], : region.shape[1]]
        if layout.bits == 1 and layout.colours is None:
            # Not for palettes, whose samples are indices.
            image *= 255
        if layout.photometric == WHITE_IS_ZERO:
            np.subtract(np.iinfo(dtype).max, image, out=image)
        return image

    def _decode_segment(self, index: int) -> NDArray[Any]:
        """Decode a strip or tile to (height, width, samples)."""
        offset, size = int(self._layout.offsets[index]), int(self._layout.sizes[index])
        try:
            data = self._reader.read(offset, size)
            if self._layout.compression != JPEG:
                return np.asarray(self._decode(data, index)[0][0])
            _check_jpeg_size(data, index, self._layout)
            return np.asarray(self._decode(data, index, jpegtables=self._layout.jpeg_tables)[0][0])
        except (ValueError, RuntimeError, TypeError, IndexError):
            raise ValueError("a damaged TIFF image; copy or download it again") from None


def _check_jpeg_size(data: bytes, index: int, layout: TiffLayout) -> None:
    """Raise ValueError if a JPEG is larger than its place: it could state any size."""
    header, (height, width) = read_jpeg_header(data), layout.segment_size
    if not layout.tiled:
        height = min(height, layout.height - index * height)
    if (header.height, header.width, header.samples) != (height, width, layout.samples):
        raise ValueError(f"a strip or tile of {header.width}x{header.height}")


def _segment_decoder(layout: TiffLayout) -> Callable[..., Any]:
    """Function from the bytes and index of a strip or tile to its samples and their position."""
    tags: dict[int, list[int]] = {
        TiffTag.WIDTH: [layout.width],
        TiffTag.HEIGHT: [layout.height],
        TiffTag.BITS: [layout.bits],
        TiffTag.COMPRESSION: [layout.compression],
        TiffTag.PHOTOMETRIC: [layout.photometric if layout.compression == JPEG else GREY],
        TiffTag.SAMPLES: [layout.samples],
        TiffTag.PLANAR: [2 if layout.planar else 1],
        TiffTag.PREDICTOR: [layout.predictor],
    }
    tags |= _segment_tags(layout)
    page = tifffile.TiffFile(io.BytesIO(_build_tiff(tags, layout.order))).pages[0]
    if not isinstance(page, tifffile.TiffPage):
        raise ValueError("a damaged TIFF image")
    return page.decode


def _segment_tags(layout: TiffLayout) -> dict[int, list[int]]:
    """Tags of the size and the number of the strips or tiles."""
    height, width = layout.segment_size
    # The decoder needs the number of segments only; their bytes are passed to it one by one.
    dummy_offsets, sizes = [1] * len(layout.offsets), [1] * len(layout.offsets)
    if layout.tiled:
        return {
            TiffTag.TILE_HEIGHT: [height],
            TiffTag.TILE_WIDTH: [width],
            TiffTag.TILES: dummy_offsets,
            TiffTag.TILE_SIZES: sizes,
        }
    return {
        TiffTag.ROWS: [height],
        TiffTag.STRIPS: dummy_offsets,
        TiffTag.STRIP_SIZES: sizes,
    }


def _build_tiff(tags: dict[int, list[int]], order: str) -> bytes:
    """Build a TIFF file that consists of a directory only."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    entries, beyond = b"", b""
    end = len(start) + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        entries += struct.pack(order + "HHI", tag, 4, len(values))
        if len(values) == 1:
            entries += packed
        else:
            entries += struct.pack(order + "I", end + len(beyond))
            beyond += packed
    return start + entries + bytes(4) + beyond
