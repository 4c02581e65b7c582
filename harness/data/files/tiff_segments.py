"""Positions of the strips and tiles of a TIFF."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from harness.data.files.tiff_layout import TiffLayout

_PART_PIXELS: Final = 1 << 18  # of an uncompressed strip, which need not be read entirely
_MAX_PARTS: Final = 1 << 20


def touched_segments(
    layout: TiffLayout, top: int, left: int, height: int, width: int
) -> Iterator[tuple[int, int, int, slice]]:
    """Yield index, top, left and channels of each strip or tile that a window touches."""
    high, wide = layout.segment_size
    n_down, n_across = math.ceil(layout.height / high), math.ceil(layout.width / wide)
    for plane in range(layout.samples if layout.planar else 1):
        channels = slice(plane, plane + 1) if layout.planar else slice(None)
        for row in range(top // high, math.ceil((top + height) / high)):
            for column in range(left // wide, math.ceil((left + width) / wide)):
                index = (plane * n_down + row) * n_across + column
                yield index, row * high, column * wide, channels


def split_strips(layout: TiffLayout) -> TiffLayout:
    """Divide long uncompressed strips into shorter ones: any of their rows can be read alone.

    Many programs write an uncompressed image as a single strip.
    """
    rows, width = layout.segment_size
    plain = layout.compression == 1 and layout.predictor == 1 and layout.bits >= 8
    if layout.tiled or not plain or rows * width <= _PART_PIXELS:
        return layout
    wanted_rows = max(1, _PART_PIXELS // width)
    # All strips but the last have equal numbers of rows, so parts must divide a strip evenly,
    # unless the image is a single strip.
    part_rows = (
        wanted_rows
        if rows == layout.height
        else max(part for part in range(1, wanted_rows + 1) if rows % part == 0)
    )
    n_planes = layout.samples if layout.planar else 1
    n_parts = math.ceil(layout.height / part_rows)
    if n_parts * n_planes > _MAX_PARTS:
        return layout
    row_bytes = width * (1 if layout.planar else layout.samples) * layout.bits // 8
    first_rows = np.arange(n_parts) * part_rows
    strips, rows_in_strip = np.divmod(first_rows, rows)
    part_sizes = np.minimum(part_rows, layout.height - first_rows) * row_bytes
    starts = layout.offsets.reshape(n_planes, -1)[:, strips] + rows_in_strip * row_bytes
    return replace(
        layout,
        segment_size=(part_rows, width),
        offsets=starts.ravel(),
        sizes=np.tile(part_sizes, n_planes),
    )
