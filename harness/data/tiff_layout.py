"""What the directory of a TIFF says, read with every number checked.

A directory can ask for anything: tiles of 2^32 pixels, strips that each are the whole file.
"""

import math
import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

TOO_EARLY = "ends too early; copy or download it again"

_TYPES = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}


class Tag(IntEnum):
    """The tags of a directory that are looked at (TIFF 6.0)."""

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


# Lossless ones, whose decoders are told how many bytes to give: none, LZW, deflate, PackBits, Zstd.
_COMPRESSIONS = frozenset({1, 5, 8, 32946, 32773, 50000})
WHITE_IS_ZERO, GREY, _RGB, _PALETTE = range(4)
_MOST_TAGS, _MOST_SEGMENTS = 4096, 1 << 20
_ALWAYS_FINE_TILE, _MOST_TILE_PIXELS = 1024, 1 << 24
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated alpha; 0 is a channel like the others


@dataclass(frozen=True)
class Directory:
    """Where the values of each whole-number tag lie: type, count, position. `after`: the next."""

    data: bytes
    order: str
    entries: dict[int, tuple[str, int, int]]
    after: int

    def first(self, tag: int, absent: int) -> int:
        """The first value of a tag."""
        values = self.all(tag, 1)
        return absent if values is None else int(values[0])

    def all(self, tag: int, n: int) -> NDArray[np.unsignedinteger] | None:
        """The first n values of a tag; None where it is absent.

        Raises:
            ValueError: there are fewer than n, or they lie beyond the end of the file.
        """
        if tag not in self.entries:
            return None
        kind, count, at = self.entries[tag]
        if count < n or at + n * int(kind[1]) > len(self.data):
            raise ValueError(TOO_EARLY)
        return np.frombuffer(self.data, self.order + kind, n, at)


@dataclass(frozen=True, eq=False)
class Layout:
    """How the one picture of a TIFF is stored; sizes in pixels, `part` is a strip's or tile's."""

    order: str
    height: int
    width: int
    samples: int
    bits: int
    photometric: int
    alpha: bool
    compression: int
    predictor: int
    planar: bool
    tiled: bool
    part: tuple[int, int]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    colours: NDArray[np.uint8] | None


def read_directory(data: bytes, at: int, *, big: bool = False, order: str = "<") -> Directory:
    """The directory at a position; `big` for BigTIFF.

    Raises:
        ValueError, struct.error: it lies beyond the end, or has absurdly many tags.
    """
    count_as, size_as, entry_length = ("Q", "Q", 20) if big else ("H", "I", 12)
    n_tags: int = struct.unpack_from(order + count_as, data, at)[0]
    if n_tags > _MOST_TAGS:
        raise ValueError(f"a damaged TIFF image: {n_tags:,} tags")
    entries: dict[int, tuple[str, int, int]] = {}
    start = at + struct.calcsize(order + count_as)
    end = start + entry_length * n_tags
    for entry in range(start, end, entry_length):
        tag, kind, n = struct.unpack_from(order + "HH" + size_as, data, entry)
        inline = entry + 4 + struct.calcsize(order + size_as)
        if kind in _TYPES and n:
            fits = n * int(_TYPES[kind][1]) <= struct.calcsize(order + size_as)
            where = inline if fits else struct.unpack_from(order + size_as, data, inline)[0]
            entries.setdefault(tag, (_TYPES[kind], n, where))
    return Directory(data, order, entries, struct.unpack_from(order + size_as, data, end)[0])


def orientation_of(exif: bytes) -> int:
    """Orientation 1..8 in an EXIF block; 1 where it is absent or broken, as viewers treat it."""
    order = "<" if exif[:2] == b"II" else ">"
    try:
        at = struct.unpack_from(order + "I", exif, 4)[0]
        value = read_directory(exif, at, order=order).first(Tag.ORIENTATION, 1)
    except (struct.error, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def read_layout(data: bytes) -> Layout:
    """The layout of a whole TIFF or BigTIFF file of one picture.

    Raises:
        ValueError, struct.error: damaged, or of a sort that is not read; the message goes behind
            the file's name.
    """
    order = "<" if data[0] == ord("I") else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    tags = read_directory(data, at, big=big, order=order)
    height, width = tags.first(Tag.HEIGHT, 0), tags.first(Tag.WIDTH, 0)
    if min(height, width) < 1:
        raise ValueError(f"has the size {width}x{height}")
    bits, samples = _checked_samples(tags)
    _check_sort(tags)
    if tags.after:
        second = read_directory(data, tags.after, big=big, order=order)
        if not second.first(Tag.SUBFILE, 0) & 1:  # a thumbnail is allowed
            raise ValueError("has several pages; save each page as a file of its own")
    planar = tags.first(Tag.PLANAR, 1) == 2 and samples > 1
    tiled = Tag.TILE_WIDTH in tags.entries
    part = _checked_part(tags, height, width, tiled=tiled)
    n_parts = math.ceil(height / part[0]) * math.ceil(width / part[1]) * (samples if planar else 1)
    offsets, sizes = _checked_parts(tags, n_parts, tiled=tiled)
    compression = tags.first(Tag.COMPRESSION, 1)
    if compression == 1 and sizes.sum() < height * math.ceil(width * samples * bits / 8):
        raise ValueError(TOO_EARLY)
    photometric = tags.first(Tag.PHOTOMETRIC, GREY)
    return Layout(
        order, height, width, samples, bits, photometric, _has_alpha(tags, samples), compression,
        tags.first(Tag.PREDICTOR, 1), planar, tiled, part, offsets, sizes,
        _palette(tags, bits) if photometric == _PALETTE else None,
    )  # fmt: skip


def _checked_samples(tags: Directory) -> tuple[int, int]:
    samples = tags.first(Tag.SAMPLES, 1)
    if not 1 <= samples <= 64:
        raise ValueError(f"has {samples} samples a pixel; from 1 to 64 are read")
    formats = tags.all(Tag.FORMAT, 1)
    if formats is not None and int(formats[0]) != 1:
        sort = {2: "signed", 3: "floating-point"}.get(int(formats[0]), "unusual")
        raise ValueError(f"has {sort} samples; save them as whole numbers of 8 or 16 bits")
    stored = tags.entries.get(Tag.BITS, ("u2", 1, 0))[1]
    each = tags.all(Tag.BITS, samples if stored >= samples else 1)
    bits = 1 if each is None else int(each[0])
    if each is not None and (each != bits).any():
        raise ValueError("has samples of different numbers of bits; save all with 8 or 16")
    if bits not in (8, 16) and (bits, samples) != (1, 1):
        raise ValueError(f"has {bits} bits a sample; save it with 8 or 16")
    return bits, samples


def _check_sort(tags: Directory) -> None:
    photometric = tags.first(Tag.PHOTOMETRIC, GREY)
    if photometric not in (WHITE_IS_ZERO, GREY, _RGB, _PALETTE):
        name = {5: "CMYK", 6: "YCbCr", 8: "CIELab"}.get(photometric, f"kind {photometric}")
        raise ValueError(f"has the colours of {name}; save it as grey, RGB or plain channels")
    if tags.first(Tag.COMPRESSION, 1) not in _COMPRESSIONS or tags.first(Tag.PREDICTOR, 1) not in (
        1,
        2,
    ):
        raise ValueError(
            f"is a TIFF of compression {tags.first(Tag.COMPRESSION, 1)} with predictor "
            f"{tags.first(Tag.PREDICTOR, 1)}; save it with LZW, deflate or none"
        )
    if tags.first(Tag.ORIENTATION, 1) != 1:
        raise ValueError("is a TIFF that is not stored upright; save it upright")
    if tags.first(Tag.FILL_ORDER, 1) != 1:
        raise ValueError("is a TIFF with its bits reversed; save it anew")


def _checked_part(tags: Directory, height: int, width: int, *, tiled: bool) -> tuple[int, int]:
    """Height and width of a strip or tile."""
    if not tiled:
        return min(max(tags.first(Tag.ROWS, height), 1), height), width
    part = tags.first(Tag.TILE_HEIGHT, 0), tags.first(Tag.TILE_WIDTH, 0)
    for side, whole in zip(part, (height, width), strict=True):
        if not 16 <= side < whole + _ALWAYS_FINE_TILE or side % 16:
            raise ValueError(f"a damaged TIFF image: tiles of {part[1]}x{part[0]}")
    if part[0] * part[1] > _MOST_TILE_PIXELS:
        raise ValueError(f"has tiles of {part[1]}x{part[0]}; save it with smaller ones")
    return part


def _checked_parts(
    tags: Directory, n: int, *, tiled: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each strip or tile begins, and its length in bytes."""
    if n > _MOST_SEGMENTS:
        raise ValueError(f"has {n:,} strips or tiles; save it with larger ones")
    starts = tags.all(Tag.TILES if tiled else Tag.STRIPS, n)
    lengths = tags.all(Tag.TILE_SIZES if tiled else Tag.STRIP_SIZES, n)
    if starts is None or lengths is None:
        raise ValueError("a damaged TIFF image: does not say where its samples lie")
    size = len(tags.data)
    # The sum: parts do not overlap, so that no file asks for more reading than its length.
    if (starts > size).any() or (lengths > size).any():
        raise ValueError(TOO_EARLY)
    offsets, sizes = starts.astype(np.int64), lengths.astype(np.int64)
    if (offsets + sizes > size).any() or sizes.sum() > size or (sizes < 1).any():
        raise ValueError(TOO_EARLY)
    return offsets, sizes


def _has_alpha(tags: Directory, samples: int) -> bool:
    photometric = tags.first(Tag.PHOTOMETRIC, GREY)
    colours = 3 if photometric == _RGB else 1
    if samples != colours + 1:
        return False
    return (
        photometric == _RGB if Tag.EXTRA not in tags.entries else tags.first(Tag.EXTRA, 0) in _ALPHA
    )


def _palette(tags: Directory, bits: int) -> NDArray[np.uint8]:
    """Colours (2^bits, 3); the file has 16 bits for each, all reds first."""
    if bits > 8 or tags.first(Tag.SAMPLES, 1) != 1:
        raise ValueError(f"has a palette of {bits} bits; save it with 8")
    stored = tags.all(Tag.COLOURS, 3 << bits)
    if stored is None:
        raise ValueError("a damaged TIFF image: has no palette")
    return (stored >> 8).astype(np.uint8).reshape(3, -1).T
