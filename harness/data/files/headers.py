"""Parse the header of an image file: format, size, samples and orientation, without decoding.

Decoders allocate the size that the header states and accept truncated files, so both are checked
first. The format (JPEG, PNG, BMP, TIFF, WebP) follows from the first bytes, never from the name.
"""

import re
import struct
from dataclasses import dataclass
from typing import Final, Literal

from harness.data.files.tiff_directory import TRUNCATED, exif_orientation
from harness.data.files.tiff_layout import JPEG, TiffLayout, read_tiff_layout

Kind = Literal["JPEG", "PNG", "BMP", "TIFF", "WebP"]
KINDS = "JPEG, PNG, BMP, TIFF or WebP"

# In compressed JPEG data 0xFF is followed by 0x00, by a restart marker 0xD0..0xD7,
# or by another 0xFF as padding.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MAX_SCANS = 100  # a progressive JPEG has about 10; each asks for a pass over the whole image
_PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


@dataclass(frozen=True)
class ImageHeader:
    """Facts that a file states before its pixels.

    Attributes:
        height, width: as stored, in pixels.
        orientation: EXIF orientation, 1..8 (1: upright).
        lossless: True if the stored values are exactly those that were saved.
        samples: number of values per pixel, including alpha; 3 or 4 for a palette's colours.
        alpha: True if the last sample is transparency.
        bits: bits of a sample, 8 or 16 (fewer count as 8).
        palette: True if the file stores indices into a list of colours.
        cmyk: True if it stores printing colours, which decoding converts to RGB.
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
    """True if the first bytes (16 are enough) are those of one of these formats."""
    starts = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    if first.startswith(starts) or (first[:4] == b"RIFF" and first[8:12] == b"WEBP"):
        return True
    # Two letters are too few for a BMP; its four reserved bytes are 0.
    return first.startswith(b"BM") and first[6:10] == bytes(4)


def read_header(data: bytes) -> ImageHeader:
    """Parse the header of a complete image file.

    Raises:
        ValueError: not one of the formats, truncated, or of a kind that would be read wrongly; the
            message is meant to follow the file's name.
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            header = read_jpeg_header(data)
        elif data.startswith(b"\x89PNG\r\n\x1a\n"):
            header = _read_png_header(data)
        elif data.startswith(b"BM"):
            header = _read_bmp_header(data)
        elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            header = tiff_header(read_tiff_layout(data))
        elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            header = _read_webp_header(data)
        else:
            raise ValueError(f"not a {KINDS} image" if data else "an empty file")
    except (struct.error, IndexError):
        raise ValueError(TRUNCATED) from None
    if header.height < 1 or header.width < 1:
        raise ValueError(f"has the size {header.width}x{header.height}")
    return header


def read_jpeg_header(data: bytes) -> ImageHeader:
    """Walk through the segments of a JPEG to its end; width 0 if none states a size."""
    height = width = samples = bits = n_scans = 0
    orientation, offset = 1, 2
    while True:
        match = _JPEG_MARKER.search(data, offset)
        if match is None:
            raise ValueError(TRUNCATED)
        marker = match[1][0]
        if marker == 0xD9:
            break
        start = match.end()
        length: int = struct.unpack_from(">H", data, start)[0]
        if marker in _JPEG_FRAMES and not width:
            bits, height, width, samples = struct.unpack_from(">BHHB", data, start + 2)
        elif marker == 0xE1 and data[start + 2 : start + 8] == b"Exif\0\0":
            orientation = exif_orientation(data[start + 8 : start + length])
        elif marker == 0xDA:
            n_scans += 1
        offset = start + max(length, 2)
    if n_scans > _MAX_SCANS:
        raise ValueError(f"a damaged JPEG image: {n_scans:,} scans")
    return ImageHeader(
        "JPEG",
        height,
        width,
        orientation,
        lossless=False,
        samples=min(samples, 3),
        bits=bits,
        cmyk=samples == 4,
    )


def _read_png_header(data: bytes) -> ImageHeader:
    width, height, bits, colour_type = struct.unpack_from(">IIBB", data, 16)
    if colour_type not in _PNG_SAMPLES or bits not in (
        (1, 2, 4, 8) if colour_type == 3 else (1, 2, 4, 8, 16)
    ):
        raise ValueError("a damaged PNG image; copy or download it again")
    palette, alpha = colour_type == 3, colour_type in (4, 6)
    orientation, offset = 1, 8
    while (name := data[offset + 4 : offset + 8]) != b"IEND":
        length: int = struct.unpack_from(">I", data, offset)[0]
        if name == b"acTL":
            raise ValueError("is an animation")
        if name == b"eXIf":
            orientation = exif_orientation(data[offset + 8 : offset + 8 + length])
        alpha = alpha or (palette and name == b"tRNS")
        # Length, name and CRC of a chunk take 12 bytes. A file without IEND ends in struct.error
        # here, which is reported as truncated.
        offset += 12 + length
    return ImageHeader(
        "PNG",
        height,
        width,
        orientation,
        samples=_PNG_SAMPLES[colour_type] + (palette and alpha),
        alpha=alpha,
        bits=max(bits, 8),
        palette=palette,
    )


def _read_bmp_header(data: bytes) -> ImageHeader:
    file_size, pixel_offset, dib = struct.unpack_from("<I4xII", data, 2)
    if len(data) < file_size:
        raise ValueError(TRUNCATED)
    width, height = struct.unpack_from("<HH" if dib == 12 else "<ii", data, 18)
    bits = struct.unpack_from("<H", data, 24 if dib == 12 else 28)[0]
    compressed = dib != 12 and struct.unpack_from("<I", data, 30)[0] in (1, 2)
    # Rows are padded to multiples of four bytes.
    row_bytes = (max(width, 0) * bits + 31) // 32 * 4
    if not compressed and len(data) < pixel_offset + row_bytes * abs(height):
        raise ValueError(TRUNCATED)
    palette = bits <= 8 and not _is_grey(bmp_palette(data))
    return ImageHeader(
        # A negative height means that rows are stored from top to bottom.
        "BMP",
        abs(height),
        width,
        samples=1 if bits <= 8 and not palette else 3,
        palette=palette,
    )


def bmp_palette(data: bytes) -> list[bytes]:
    """Read the colours of a BMP of at most 8 bits, blue first; at most 2^bits of them."""
    dib = struct.unpack_from("<I", data, 14)[0]
    bits = struct.unpack_from("<H", data, 24 if dib == 12 else 28)[0]
    n = 1 << bits if dib == 12 else struct.unpack_from("<I", data, 46)[0] or 1 << bits
    entry_bytes = 3 if dib == 12 else 4
    start = 14 + dib
    return [data[start + entry_bytes * i :][:3] for i in range(min(n, 1 << bits))]


def _is_grey(colours: list[bytes]) -> bool:
    return all(len(set(colour)) <= 1 for colour in colours)


def _read_webp_header(data: bytes) -> ImageHeader:
    if len(data) < struct.unpack_from("<I", data, 4)[0] + 8:
        raise ValueError(TRUNCATED)
    chunks = _webp_chunks(data)
    extended, bitstream = chunks.get(b"VP8X"), chunks.get(b"VP8L", chunks.get(b"VP8 "))
    if extended is not None and data[extended] & 0x02:
        raise ValueError("is an animation")
    if bitstream is None:
        raise ValueError("a damaged WebP image; copy or download it again")
    orientation = 1
    if extended is not None and b"EXIF" in chunks:
        block = data[chunks[b"EXIF"] :]
        orientation = exif_orientation(block.removeprefix(b"Exif\0\0"))
    if b"VP8L" in chunks:
        height, width, alpha = _read_vp8l_header(data, bitstream)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, bitstream + 6))
        alpha = extended is not None and b"ALPH" in chunks
    return ImageHeader(
        "WebP", height, width, orientation, lossless=b"VP8L" in chunks, samples=3 + alpha,
        alpha=alpha,
    )  # fmt: skip


def _read_vp8l_header(data: bytes, start: int) -> tuple[int, int, bool]:
    """Height, width and alpha of a lossless WebP bitstream."""
    bits = struct.unpack_from("<I", data, start + 1)[0]
    return ((bits >> 14) & 0x3FFF) + 1, (bits & 0x3FFF) + 1, bool(bits >> 28 & 1)


def _webp_chunks(data: bytes) -> dict[bytes, int]:
    """Offset of the contents of each chunk, by its name."""
    chunk_starts: dict[bytes, int] = {}
    offset = 12
    while offset + 8 <= len(data):
        length: int = struct.unpack_from("<I", data, offset + 4)[0]
        chunk_starts.setdefault(data[offset : offset + 4], offset + 8)
        # RIFF pads chunks of odd length by one byte that their length does not count.
        offset += 8 + length + length % 2
    return chunk_starts


def tiff_header(layout: TiffLayout) -> ImageHeader:
    """Header of a TIFF, from its layout."""
    palette = layout.colours is not None
    return ImageHeader(
        "TIFF",
        layout.height,
        layout.width,
        lossless=layout.compression != JPEG,
        samples=3 if palette else layout.samples,
        alpha=layout.alpha,
        bits=16 if layout.bits == 16 else 8,
        palette=palette,
    )


Mode = Literal["grey", "grey+alpha", "RGB", "RGBA", "palette", "CMYK", "other"]


_BY_SAMPLES: Final[dict[int, Mode]] = {1: "grey", 2: "grey+alpha", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class ImageFileInfo:
    """Storage format of an image: kind (JPEG, PNG, ...), colour mode, bits, orientation."""

    kind: str = "PNG"
    mode: Mode = "RGB"
    bits: int = 8
    orientation: int = 1


def describe_image(header: ImageHeader) -> ImageFileInfo:
    """Summarise a header for the scan and the inspection report."""
    return ImageFileInfo(header.kind, _mode(header), header.bits, header.orientation)


def _mode(header: ImageHeader) -> Mode:
    if header.palette:
        return "palette"
    if header.cmyk:
        return "CMYK"
    if header.samples == 2 or header.samples == 4:
        return _BY_SAMPLES[header.samples] if header.alpha else "other"
    return _BY_SAMPLES.get(header.samples, "other")
