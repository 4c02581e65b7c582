"""Decode the samples of a TIFF strip by strip with tifffile.

tifffile receives a new directory built from checked values, never the file's own. The module stands
alone because it alone imports tifffile.
"""

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from harness.data.files.tiff_layout import (
    GREY,
    WHITE_IS_ZERO,
    TiffLayout,
    TiffTag,
    read_tiff_layout,
)


def decode_tiff(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a TIFF to (H, W, samples) in native byte order; 0 is black.

    A palette image gives indices. One bit becomes 0 or 255, as in other formats.

    Raises:
        ValueError, struct.error: as `read_tiff_layout`; also for a damaged strip or tile.
    """
    layout = read_tiff_layout(data)
    dtype = np.uint16 if layout.bits == 16 else np.uint8
    image = np.empty((layout.height, layout.width, layout.samples), dtype)
    _decode_segments(data, layout, image)
    if layout.bits == 1 and layout.colours is None:
        # Not for palettes, whose samples are indices.
        image *= 255
    if layout.photometric == WHITE_IS_ZERO:
        np.subtract(np.iinfo(dtype).max, image, out=image)
    return image


def _decode_segments(data: bytes, layout: TiffLayout, image: NDArray[Any]) -> None:
    """Decode every strip or tile into its region of the image."""
    n_planes = layout.samples if layout.planar else 1
    decode = _segment_decoder(layout)
    for index, (offset, size) in enumerate(zip(layout.offsets, layout.sizes, strict=True)):
        try:
            # Tiles at the right and bottom edge are padded to full size; the slices below cut them.
            segment, (sample, _, y, x, _), _ = decode(data[offset : offset + size], index)
        except (ValueError, RuntimeError, TypeError, IndexError):
            raise ValueError("a damaged TIFF image; copy or download it again") from None
        channels = slice(sample, sample + 1) if n_planes > 1 else slice(None)
        region = image[y : y + segment.shape[1], x : x + segment.shape[2], channels]
        region[...] = segment[0, : region.shape[0], : region.shape[1]]


def _segment_decoder(layout: TiffLayout) -> Callable[[bytes, int], Any]:
    """Function from the bytes and index of a strip or tile to its samples and their position."""
    tags: dict[int, list[int]] = {
        TiffTag.WIDTH: [layout.width],
        TiffTag.HEIGHT: [layout.height],
        TiffTag.BITS: [layout.bits],
        TiffTag.COMPRESSION: [layout.compression],
        TiffTag.PHOTOMETRIC: [GREY],
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
