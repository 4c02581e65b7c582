"""What an image file says about itself: size and orientation, read without decoding it.

Decoders allocate what the header asks for and accept files that end too early, so both are looked
at first. Formats by their first bytes, never by their name: JPEG, PNG, BMP, TIFF, WebP.
"""

import re
import struct
from dataclasses import dataclass
from typing import Literal

Kind = Literal["JPEG", "PNG", "BMP", "TIFF", "WebP"]
KINDS = "JPEG, PNG, BMP, TIFF or WebP"

# In compressed JPEG data 0xFF is followed by 0x00 or a restart marker 0xD0..0xD7, or is filling.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TIFF_TYPES = {1: "B", 3: "H", 4: "I"}
_TIFF_DATA = ((273, 279), (324, 325))  # offset and byte count of strips, of tiles
_TIFF_ENDS = frozenset({273, 279, 324, 325})
_WIDTH, _HEIGHT, _PHOTOMETRIC, _SAMPLES, _ORIENTATION, _SUBFILE = 256, 257, 262, 277, 274, 254


@dataclass(frozen=True)
class Header:
    """Stored size in pixels, EXIF orientation 1..8 (1: upright), and whether values are exact."""

    kind: Kind
    height: int
    width: int
    orientation: int = 1
    lossless: bool = True


def read_header(data: bytes) -> Header:
    """The header of a whole image file.

    Raises:
        ValueError: not one of the formats, ends too early, or is of a sort that would be read
            wrongly; the message goes behind the file's name.
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            header = _jpeg(data)
        elif data.startswith(b"\x89PNG\r\n\x1a\n"):
            header = _png(data)
        elif data.startswith(b"BM"):
            header = _bmp(data)
        elif data[:4] in (b"II*\0", b"MM\0*"):
            header = _tiff(data)
        elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            header = _webp(data)
        else:
            raise ValueError(f"not a {KINDS} image" if data else "an empty file")
    except (struct.error, IndexError):
        raise ValueError("ends too early; copy or download it again") from None
    if header.height < 1 or header.width < 1:
        raise ValueError(f"has the size {header.width}x{header.height}")
    return header


def _jpeg(data: bytes) -> Header:
    height = width = 0
    orientation, at = 1, 2
    while True:
        found = _JPEG_MARKER.search(data, at)
        if found is None:
            raise ValueError("ends too early; copy or download it again")
        marker = found[1][0]
        if marker == 0xD9:
            break
        start = found.end()
        length: int = struct.unpack_from(">H", data, start)[0]
        if marker in _JPEG_FRAMES and not width:
            height, width = struct.unpack_from(">HH", data, start + 3)
        elif marker == 0xE1 and data[start + 2 : start + 8] == b"Exif\0\0":
            orientation = _exif_orientation(data[start + 8 : start + length])
        at = start + max(length, 2)
    return Header("JPEG", height, width, orientation, lossless=False)


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    orientation, at = 1, 8
    while (name := data[at + 4 : at + 8]) != b"IEND":
        length: int = struct.unpack_from(">I", data, at)[0]
        if name == b"acTL":
            raise ValueError("is an animation")
        if name == b"eXIf":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length])
        at += 12 + length
    return Header("PNG", height, width, orientation)


def _bmp(data: bytes) -> Header:
    whole, dib = struct.unpack_from("<I", data, 2)[0], struct.unpack_from("<I", data, 14)[0]
    if len(data) < whole:
        raise ValueError("ends too early; copy or download it again")
    width, height = struct.unpack_from("<HH" if dib == 12 else "<ii", data, 18)
    return Header("BMP", abs(height), width)


def _webp(data: bytes) -> Header:
    if len(data) < struct.unpack_from("<I", data, 4)[0] + 8:
        raise ValueError("ends too early; copy or download it again")
    chunk = data[12:16]
    if chunk == b"VP8X":
        if data[20] & 0x02:
            raise ValueError("is an animation")
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        exif = data.find(b"EXIF", 30) if data[20] & 0x08 else -1
        orientation = _exif_orientation(data[exif + 8 :]) if exif > 0 else 1
        return Header("WebP", height, width, orientation, lossless=b"VP8L" in data[30:])
    if chunk == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return Header("WebP", ((bits >> 14) & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    width, height = struct.unpack_from("<HH", data, 26)
    return Header("WebP", height & 0x3FFF, width & 0x3FFF, lossless=False)


def _tiff(data: bytes) -> Header:
    order = "<" if data[0] == ord("I") else ">"
    tags, after = _tiff_directory(data, order, struct.unpack_from(order + "I", data, 4)[0])
    samples, photometric = tags.get(_SAMPLES, 1), tags.get(_PHOTOMETRIC, 1)
    # OpenCV 5.0 reads four grey samples as one channel and more than four as BGRA, silently.
    if samples > 4 or (photometric in (0, 1) and samples > 2):
        raise ValueError(f"has {samples} samples a pixel; save it as 8-bit grey or RGB")
    if any(len(data) < tags.get(at, 0) + tags.get(n, 0) for at, n in _TIFF_DATA):
        raise ValueError("ends too early; copy or download it again")
    if tags.get(_ORIENTATION, 1) != 1:
        raise ValueError("is a TIFF that is not stored upright; save it upright")
    if after and not _tiff_directory(data, order, after)[0].get(_SUBFILE, 0) & 1:
        raise ValueError("has several pages; save each page as a file of its own")
    return Header("TIFF", tags.get(_HEIGHT, 0), tags.get(_WIDTH, 0))


def _tiff_directory(data: bytes, order: str, at: int) -> tuple[dict[int, int], int]:
    """The first value of each whole-number tag, and where the next directory lies (0: nowhere)."""
    tags: dict[int, int] = {}
    count: int = struct.unpack_from(order + "H", data, at)[0]
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, n = struct.unpack_from(order + "HHI", data, entry)
        if kind in _TIFF_TYPES:
            letter = _TIFF_TYPES[kind]
            fits = n * struct.calcsize(letter) <= 4
            where = entry + 8 if fits else struct.unpack_from(order + "I", data, entry + 8)[0]
            if tag in _TIFF_ENDS:  # the last strip or tile: where it begins, how long it is
                where += (n - 1) * struct.calcsize(letter)
            tags.setdefault(tag, struct.unpack_from(order + letter, data, where)[0])
    return tags, struct.unpack_from(order + "I", data, at + 2 + 12 * count)[0]


def _exif_orientation(data: bytes) -> int:
    """Orientation 1..8; 1 where EXIF is absent or broken, as viewers treat it."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        first = struct.unpack_from(order + "I", data, 4)[0]
        value = _tiff_directory(data, order, first)[0].get(_ORIENTATION, 1)
    except struct.error:
        return 1
    return value if 1 <= value <= 8 else 1
