"""Read the tags of a TIFF directory with a check of every number (TIFF 6.0, BigTIFF)."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from harness.data.files.byte_reader import ByteReader, MemoryBytes, unpack

TRUNCATED = "ends too early; copy or download it again"

_TYPES = {1: "u1", 3: "u2", 4: "u4", 7: "u1", 16: "u8"}
_MAX_TAGS = 4096


class TiffTag(IntEnum):
    """Tags of a directory that the reader uses (TIFF 6.0)."""

    SUBFILE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIPS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS = 278
    STRIP_SIZES = 279
    PLANAR = 284
    PREDICTOR = 317
    COLOURS = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILES = 324
    TILE_SIZES = 325
    EXTRA = 338
    FORMAT = 339
    JPEG_TABLES = 347


@dataclass(frozen=True)
class TiffDirectory:
    """Type, count and offset of the values of each integer tag.

    Attributes:
        next_offset: offset of the next directory; 0 at the last one.
    """

    reader: ByteReader
    order: str
    entries: dict[int, tuple[str, int, int]]
    next_offset: int

    def first_value(self, tag: int, absent: int) -> int:
        """First value of a tag, or `absent`."""
        values = self.read_values(tag, 1)
        return absent if values is None else int(values[0])

    def read_values(self, tag: int, n: int) -> NDArray[np.unsignedinteger] | None:
        """First n values of a tag; None if the tag is absent.

        Raises:
            ValueError: there are fewer than n, or they extend beyond the end of the file.
        """
        if tag not in self.entries:
            return None
        kind, count, offset = self.entries[tag]
        n_bytes = n * int(kind[1])
        if count < n or offset + n_bytes > self.reader.size:
            raise ValueError(TRUNCATED)
        return np.frombuffer(self.reader.read(offset, n_bytes), self.order + kind)


def read_first_directory(reader: ByteReader, kinds: Mapping[int, str] = _TYPES) -> TiffDirectory:
    """Read the directory of the first image. Raises as `read_directory`."""
    order, big = "<" if reader.read(0, 1) == b"I" else ">", is_big_tiff(reader)
    offset = unpack(reader, order + ("Q" if big else "I"), 8 if big else 4)[0]
    return read_directory(reader, offset, big=big, order=order, kinds=kinds)


def read_directory(
    reader: ByteReader,
    offset: int,
    *,
    big: bool = False,
    order: str = "<",
    kinds: Mapping[int, str] = _TYPES,
) -> TiffDirectory:
    """Read the directory at an offset; `big` for BigTIFF. Tags of other `kinds` are left out.

    Raises:
        ValueError, struct.error: it is beyond the end, or has more than 4096 tags.
    """
    count_as, size_as, entry_length = ("Q", "Q", 20) if big else ("H", "I", 12)
    n_tags: int = unpack(reader, order + count_as, offset)[0]
    if n_tags > _MAX_TAGS:
        raise ValueError(f"a damaged TIFF image: {n_tags:,} tags")
    entries: dict[int, tuple[str, int, int]] = {}
    start = offset + struct.calcsize(order + count_as)
    end = entry_length * n_tags
    table = reader.read(start, end + struct.calcsize(order + size_as))
    for entry in range(0, end, entry_length):
        tag, kind, n = struct.unpack_from(order + "HH" + size_as, table, entry)
        inline = entry + 4 + struct.calcsize(order + size_as)
        if kind in kinds and n:
            # TIFF 6.0, section 2: values that fit into the offset's own bytes are stored in its
            # place.
            fits = n * int(kinds[kind][1]) <= struct.calcsize(order + size_as)
            value_offset = (
                start + inline if fits else struct.unpack_from(order + size_as, table, inline)[0]
            )
            # TIFF 6.0 sorts the entries by tag; of a repeated tag the first entry counts.
            entries.setdefault(tag, (kinds[kind], n, value_offset))
    next_offset: int = struct.unpack_from(order + size_as, table, end)[0]
    return TiffDirectory(reader, order, entries, next_offset)


def exif_orientation(exif: bytes) -> int:
    """Orientation 1..8 in an EXIF block; 1 if it is absent or broken, as viewers treat it."""
    order = "<" if exif[:2] == b"II" else ">"
    try:
        offset = struct.unpack_from(order + "I", exif, 4)[0]
        directory = read_directory(MemoryBytes(exif), offset, order=order)
        value = directory.first_value(TiffTag.ORIENTATION, 1)
    except (struct.error, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def is_big_tiff(reader: ByteReader) -> bool:
    """True for BigTIFF, whose offsets have 64 bits."""
    return reader.read(2, 2) in (b"+\0", b"\0+")
