"""What an image file says about itself: size and orientation, read without decoding it.

Decoders allocate what the header asks for and accept files that end too early, so both are looked
at first. Formats by their first bytes, never by their name: JPEG, PNG, BMP, TIFF, WebP.
"""

import re
import struct
from dataclasses import dataclass
from typing import Literal

from harness.data.tiff_layout import TOO_EARLY, orientation_of, read_layout

Kind = Literal["JPEG", "PNG", "BMP", "TIFF", "WebP"]
KINDS = "JPEG, PNG, BMP, TIFF or WebP"

# In compressed JPEG data 0xFF is followed by 0x00 or a restart marker 0xD0..0xD7, or is filling.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MOST_SCANS = 100  # a progressive JPEG has about 10; each asks for a pass over the whole picture
_PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


@dataclass(frozen=True)
class Header:
    """What a file holds.

    Attributes:
        height, width: as stored, in pixels.
        orientation: of EXIF, 1..8 (1: upright).
        lossless: whether values are those that were saved.
        samples: values a pixel, alpha among them; 3 or 4 for a palette's colours.
        alpha: whether the last sample is transparency.
        bits: of a sample, 8 or 16 (fewer count as 8).
        palette: whether the file stores indices into a list of colours.
        cmyk: whether it stores printing colours, which decoding converts to RGB.
    """

    kind: Kind
    height: int
    width: int
    orientation: int = 1
    lossless: bool = True
    samples: int = 3
    alpha: bool = False
    bits: int = 8
    palette: bool = False
    cmyk: bool = False


def is_image_start(first: bytes) -> bool:
    """Whether a file that begins so is of one of these formats; 16 bytes are enough."""
    starts = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    if first.startswith(starts) or (first[:4] == b"RIFF" and first[8:12] == b"WEBP"):
        return True
    # Two letters are too few for a BMP; its four reserved bytes are 0.
    return first.startswith(b"BM") and first[6:10] == bytes(4)


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
        elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            header = _tiff(data)
        elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            header = _webp(data)
        else:
            raise ValueError(f"not a {KINDS} image" if data else "an empty file")
    except (struct.error, IndexError):
        raise ValueError(TOO_EARLY) from None
    if header.height < 1 or header.width < 1:
        raise ValueError(f"has the size {header.width}x{header.height}")
    return header


def _jpeg(data: bytes) -> Header:
    height = width = samples = bits = n_scans = 0
    orientation, at = 1, 2
    while True:
        found = _JPEG_MARKER.search(data, at)
        if found is None:
            raise ValueError(TOO_EARLY)
        marker = found[1][0]
        if marker == 0xD9:
            break
        start = found.end()
        length: int = struct.unpack_from(">H", data, start)[0]
        if marker in _JPEG_FRAMES and not width:
            bits, height, width, samples = struct.unpack_from(">BHHB", data, start + 2)
        elif marker == 0xE1 and data[start + 2 : start + 8] == b"Exif\0\0":
            orientation = orientation_of(data[start + 8 : start + length])
        elif marker == 0xDA:
            n_scans += 1
        at = start + max(length, 2)
    if n_scans > _MOST_SCANS:
        raise ValueError(f"a damaged JPEG image: {n_scans:,} scans")
    return Header(
        "JPEG",
        height,
        width,
        orientation,
        lossless=False,
        samples=min(samples, 3),
        bits=bits,
        cmyk=samples == 4,
    )


def _png(data: bytes) -> Header:
    width, height, bits, sort = struct.unpack_from(">IIBB", data, 16)
    if sort not in _PNG_SAMPLES or bits not in ((1, 2, 4, 8) if sort == 3 else (1, 2, 4, 8, 16)):
        raise ValueError("a damaged PNG image; copy or download it again")
    palette, alpha = sort == 3, sort in (4, 6)
    orientation, at = 1, 8
    while (name := data[at + 4 : at + 8]) != b"IEND":
        length: int = struct.unpack_from(">I", data, at)[0]
        if name == b"acTL":
            raise ValueError("is an animation")
        if name == b"eXIf":
            orientation = orientation_of(data[at + 8 : at + 8 + length])
        alpha = alpha or (palette and name == b"tRNS")
        at += 12 + length
    return Header(
        "PNG",
        height,
        width,
        orientation,
        samples=_PNG_SAMPLES[sort] + (palette and alpha),
        alpha=alpha,
        bits=max(bits, 8),
        palette=palette,
    )


def _bmp(data: bytes) -> Header:
    whole, pixels_at, dib = struct.unpack_from("<I4xII", data, 2)
    if len(data) < whole:
        raise ValueError(TOO_EARLY)
    width, height = struct.unpack_from("<HH" if dib == 12 else "<ii", data, 18)
    bits = struct.unpack_from("<H", data, 24 if dib == 12 else 28)[0]
    compressed = dib != 12 and struct.unpack_from("<I", data, 30)[0] in (1, 2)
    row_bytes = (max(width, 0) * bits + 31) // 32 * 4
    if not compressed and len(data) < pixels_at + row_bytes * abs(height):
        raise ValueError(TOO_EARLY)
    palette = bits <= 8 and not _is_grey(bmp_palette(data))
    return Header(
        "BMP", abs(height), width, samples=1 if bits <= 8 and not palette else 3, palette=palette
    )


def bmp_palette(data: bytes) -> list[bytes]:
    """The colours of a BMP of at most 8 bits, blue first, as many as its bits can name."""
    dib = struct.unpack_from("<I", data, 14)[0]
    bits = struct.unpack_from("<H", data, 24 if dib == 12 else 28)[0]
    n = 1 << bits if dib == 12 else struct.unpack_from("<I", data, 46)[0] or 1 << bits
    each = 3 if dib == 12 else 4
    start = 14 + dib
    return [data[start + each * i :][:3] for i in range(min(n, 1 << bits))]


def _is_grey(colours: list[bytes]) -> bool:
    return all(len(set(colour)) <= 1 for colour in colours)


def _webp(data: bytes) -> Header:
    if len(data) < struct.unpack_from("<I", data, 4)[0] + 8:
        raise ValueError(TOO_EARLY)
    chunks = _webp_chunks(data)
    extended, picture = chunks.get(b"VP8X"), chunks.get(b"VP8L", chunks.get(b"VP8 "))
    if extended is not None and data[extended] & 0x02:
        raise ValueError("is an animation")
    if picture is None:
        raise ValueError("a damaged WebP image; copy or download it again")
    orientation = 1
    if extended is not None and b"EXIF" in chunks:
        block = data[chunks[b"EXIF"] :]
        orientation = orientation_of(block.removeprefix(b"Exif\0\0"))
    if b"VP8L" in chunks:
        bits = struct.unpack_from("<I", data, picture + 1)[0]
        height, width = ((bits >> 14) & 0x3FFF) + 1, (bits & 0x3FFF) + 1
        alpha = bool(bits >> 28 & 1)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, picture + 6))
        alpha = extended is not None and b"ALPH" in chunks
    return Header(
        "WebP", height, width, orientation, lossless=b"VP8L" in chunks, samples=3 + alpha,
        alpha=alpha,
    )  # fmt: skip


def _webp_chunks(data: bytes) -> dict[bytes, int]:
    """Where the contents of each chunk begin, by its name."""
    found: dict[bytes, int] = {}
    at = 12
    while at + 8 <= len(data):
        length: int = struct.unpack_from("<I", data, at + 4)[0]
        found.setdefault(data[at : at + 4], at + 8)
        at += 8 + length + length % 2
    return found


def _tiff(data: bytes) -> Header:
    layout = read_layout(data)
    palette = layout.colours is not None
    return Header(
        "TIFF",
        layout.height,
        layout.width,
        samples=3 if palette else layout.samples,
        alpha=layout.alpha,
        bits=16 if layout.bits == 16 else 8,
        palette=palette,
    )
