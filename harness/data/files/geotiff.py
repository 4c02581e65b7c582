"""Read the coordinate system and position of a GeoTIFF, to store them with a predicted mask.

The tags are copied as they are (GeoTIFF 1.1, OGC 19-008): a mask has the size of its image, so it
has its position, too.
"""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from harness.data.files.byte_reader import ByteReader, MemoryBytes
from harness.data.files.tiff_directory import TiffDirectory, read_first_directory

# Pixel scale, tie points, transformation, keys, and the numbers and texts that keys refer to.
_GEO_TAGS: Final = (33550, 33922, 34264, 34735, 34736, 34737)
_KEYS: Final = 34735
_KINDS: Final = {2: "S1", 3: "u2", 12: "f8"}
_MAX_VALUES: Final = 1 << 16  # of a tag; a few dozen are usual


@dataclass(frozen=True)
class GeoTag:
    """A tag: its code, the TIFF type of its values, their number, and the values as stored here."""

    code: int
    kind: int
    count: int
    values: bytes | tuple[int | float, ...]


def read_geo_tags(data: bytes | ByteReader) -> tuple[GeoTag, ...]:
    """Read the tags of a complete TIFF; () if it is no GeoTIFF or they are damaged."""
    reader = MemoryBytes(data) if isinstance(data, bytes) else data
    try:
        directory = read_first_directory(reader, _KINDS)
        if _KEYS not in directory.entries:
            return ()
        tags = (_read_tag(directory, code) for code in _GEO_TAGS if code in directory.entries)
        return tuple(tag for tag in tags if tag is not None)
    except (ValueError, struct.error):
        return ()


def _read_tag(directory: TiffDirectory, code: int) -> GeoTag | None:
    kind, count, _ = directory.entries[code]
    if count > _MAX_VALUES:
        raise ValueError(f"{count:,} values in tag {code}")
    values = directory.read_values(code, count)
    if values is None:
        return None
    number = next(number for number, name in _KINDS.items() if name == kind)
    if kind == "S1":
        return GeoTag(code, number, count, values.tobytes())
    if not np.isfinite(values).all():
        raise ValueError(f"a number of tag {code} is not finite")
    return GeoTag(code, number, count, tuple(values.tolist()))
