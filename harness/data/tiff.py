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

from harness.data.tiff_layout import GREY, WHITE_IS_ZERO, Layout, Tag, read_layout


def decode_tiff(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The stored samples of a TIFF: (H, W, samples), in native byte order; 0 is black.

    Of a palette image the indices. One bit becomes 0 or 255, as in other formats.

    Raises:
        ValueError, struct.error: as `read_layout`; also where a strip or tile is damaged.
    """
    layout = read_layout(data)
    kind = np.uint16 if layout.bits == 16 else np.uint8
    apart = layout.samples if layout.planar else 1
    decode = _decoder(layout)
    picture = np.empty((layout.height, layout.width, layout.samples), kind)
    for index, (at, size) in enumerate(zip(layout.offsets, layout.sizes, strict=True)):
        try:
            part, (sample, _, top, left, _), _ = decode(data[at : at + size], index)
        except (ValueError, RuntimeError, TypeError, IndexError):
            raise ValueError("a damaged TIFF image; copy or download it again") from None
        which = slice(sample, sample + 1) if apart > 1 else slice(None)
        room = picture[top : top + part.shape[1], left : left + part.shape[2], which]
        room[...] = part[0, : room.shape[0], : room.shape[1]]
    if layout.bits == 1 and layout.colours is None:
        picture *= 255
    if layout.photometric == WHITE_IS_ZERO:
        np.subtract(np.iinfo(kind).max, picture, out=picture)
    return picture


def _decoder(layout: Layout) -> Callable[[bytes, int], Any]:
    """Of a strip's or tile's bytes and index: its samples, and where they belong."""
    tags: dict[int, list[int]] = {
        Tag.WIDTH: [layout.width],
        Tag.HEIGHT: [layout.height],
        Tag.BITS: [layout.bits],
        Tag.COMPRESSION: [layout.compression],
        Tag.PHOTOMETRIC: [GREY],
        Tag.SAMPLES: [layout.samples],
        Tag.PLANAR: [2 if layout.planar else 1],
        Tag.PREDICTOR: [layout.predictor],
    }
    places, sizes = [1] * len(layout.offsets), [1] * len(layout.offsets)
    if layout.tiled:
        tags |= {Tag.TILE_HEIGHT: [layout.part[0]], Tag.TILE_WIDTH: [layout.part[1]]}
        tags |= {Tag.TILES: places, Tag.TILE_SIZES: sizes}
    else:
        tags |= {Tag.ROWS: [layout.part[0]], Tag.STRIPS: places, Tag.STRIP_SIZES: sizes}
    page = tifffile.TiffFile(io.BytesIO(_written(tags, layout.order))).pages[0]
    if not isinstance(page, tifffile.TiffPage):
        raise ValueError("a damaged TIFF image")
    return page.decode


def _written(tags: dict[int, list[int]], order: str) -> bytes:
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
