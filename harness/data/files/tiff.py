"""The samples of a TIFF, decoded by tifffile strip by strip.

tifffile never sees the file's own directory: it gets a new one, made of what was checked.
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
    """The stored samples of a TIFF: (H, W, samples), in native byte order; 0 is black.

    Of a palette image the indices. One bit becomes 0 or 255, as in other formats.

    Raises:
        ValueError, struct.error: as `read_layout`; also where a strip or tile is damaged.
    """
    layout = read_tiff_layout(data)
    dtype = np.uint16 if layout.bits == 16 else np.uint8
    n_planes = layout.samples if layout.planar else 1
    decode = _segment_decoder(layout)
    picture = np.empty((layout.height, layout.width, layout.samples), dtype)
    for index, (offset, size) in enumerate(zip(layout.offsets, layout.sizes, strict=True)):
        try:
            segment, (sample, _, y, x, _), _ = decode(data[offset : offset + size], index)
        except (ValueError, RuntimeError, TypeError, IndexError):
            raise ValueError("a damaged TIFF image; copy or download it again") from None
        channels = slice(sample, sample + 1) if n_planes > 1 else slice(None)
        region = picture[y : y + segment.shape[1], x : x + segment.shape[2], channels]
        region[...] = segment[0, : region.shape[0], : region.shape[1]]
    if layout.bits == 1 and layout.colours is None:
        picture *= 255
    if layout.photometric == WHITE_IS_ZERO:
        np.subtract(np.iinfo(dtype).max, picture, out=picture)
    return picture


def _segment_decoder(layout: TiffLayout) -> Callable[[bytes, int], Any]:
    """Of a strip's or tile's bytes and index: its samples, and where they belong."""
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
    dummy_offsets, sizes = [1] * len(layout.offsets), [1] * len(layout.offsets)
    if layout.tiled:
        tags |= {
            TiffTag.TILE_HEIGHT: [layout.segment_size[0]],
            TiffTag.TILE_WIDTH: [layout.segment_size[1]],
        }
        tags |= {TiffTag.TILES: dummy_offsets, TiffTag.TILE_SIZES: sizes}
    else:
        tags |= {
            TiffTag.ROWS: [layout.segment_size[0]],
            TiffTag.STRIPS: dummy_offsets,
            TiffTag.STRIP_SIZES: sizes,
        }
    page = tifffile.TiffFile(io.BytesIO(_build_tiff(tags, layout.order))).pages[0]
    if not isinstance(page, tifffile.TiffPage):
        raise ValueError("a damaged TIFF image")
    return page.decode


def _build_tiff(tags: dict[int, list[int]], order: str) -> bytes:
    """A TIFF of a directory alone."""
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
