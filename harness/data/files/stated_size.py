"""Size that a large file states in its first bytes, so that it is not read for a small image."""

import io
import struct

from harness.data.files.byte_reader import FileBytes
from harness.data.files.headers import KINDS, is_image_start, read_jpeg_header
from harness.data.files.tiff_directory import TRUNCATED, TiffTag, read_directory

# Metadata (colour profiles, thumbnails) may make a small image file large.
METADATA_BYTES = 16_000_000
_BYTES_PER_SAMPLE = 4  # twice the 16 bits of the largest: compression may lengthen noise
_MIN_SAMPLES = 4
_JPEG_END = b"\xff\xd9"


def read_stated_size(handle: io.BufferedIOBase, n_bytes: int) -> tuple[int, int] | None:
    """Width and height that a file of `n_bytes` states, of which at most METADATA_BYTES are read.

    Returns:
        None for smaller files, which can be read as a whole.

    Raises:
        ValueError: no image, no size in the first bytes, or far more bytes than pixels; the
            message is meant to follow the file's name.
    """
    if n_bytes <= METADATA_BYTES:
        return None
    start = handle.read(METADATA_BYTES)
    if not is_image_start(start[:16]):
        raise ValueError(f"not a {KINDS} image")
    try:
        width, height, samples = _stated_size(handle, start, n_bytes)
    except struct.error:
        raise ValueError(TRUNCATED) from None
    max_bytes = width * height * max(samples, _MIN_SAMPLES) * _BYTES_PER_SAMPLE + METADATA_BYTES
    if n_bytes > max_bytes:
        raise ValueError(f"{n_bytes:,} bytes; too large for an image of {width}x{height}")
    return width, height


def _stated_size(handle: io.BufferedIOBase, start: bytes, n_bytes: int) -> tuple[int, int, int]:
    """Width, height and samples of each pixel; of other formats than TIFF 4 at most."""
    if start.startswith(b"\xff\xd8\xff"):
        # With an end, as the segments before the image alone are of interest.
        header = read_jpeg_header(start + _JPEG_END)
        if not header.width:
            raise ValueError(TRUNCATED)
        return header.width, header.height, 4
    if start.startswith(b"\x89PNG"):
        width, height = struct.unpack_from(">II", start, 16)
        return width, height, 4
    if start.startswith(b"BM"):
        is_old = struct.unpack_from("<I", start, 14)[0] == 12
        width, height = struct.unpack_from("<HH" if is_old else "<ii", start, 18)
        return abs(width), abs(height), 4
    if start.startswith(b"RIFF"):
        return (*_read_webp_size(start), 4)
    return _read_tiff_size(handle, start, n_bytes)


def _read_webp_size(start: bytes) -> tuple[int, int]:
    if start[12:16] == b"VP8X":
        # Two numbers of 24 bits, each one less than the side.
        return int.from_bytes(start[24:27], "little") + 1, int.from_bytes(
            start[27:30], "little"
        ) + 1
    if start[12:16] == b"VP8L":
        bits = struct.unpack_from("<I", start, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", start, 26)
    return width & 0x3FFF, height & 0x3FFF


def _read_tiff_size(handle: io.BufferedIOBase, start: bytes, n_bytes: int) -> tuple[int, int, int]:
    """Read the directory of a TIFF, which may be at the end of the file."""
    order = "<" if start.startswith(b"II") else ">"
    big = start[2:4] in (b"+\0", b"\0+")
    offset = struct.unpack_from(order + ("Q" if big else "I"), start, 8 if big else 4)[0]
    tags = read_directory(FileBytes(handle, n_bytes), offset, big=big, order=order)
    width, height = tags.first_value(TiffTag.WIDTH, 0), tags.first_value(TiffTag.HEIGHT, 0)
    return width, height, tags.first_value(TiffTag.SAMPLES, 1)
