"""Rewrite palette images as grey, so that OpenCV decodes them to indices instead of colours."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from harness.data.files.headers import bmp_palette


def png_as_grey(data: bytes) -> tuple[bytes, NDArray[np.uint8], int]:
    """Rewrite a palette PNG as grey, so that it decodes to its indices times the returned scale."""
    palette = np.zeros((0, 3), np.uint8)
    bits = data[24]
    grey = struct.pack(">4s8sBB3s", b"IHDR", data[16:24], bits, 0, data[26:29])
    parts = [data[:12], grey, struct.pack(">I", zlib.crc32(grey))]
    offset = 33
    while (name := data[offset + 4 : offset + 8]) != b"IEND":
        length: int = struct.unpack_from(">I", data, offset)[0]
        if name == b"PLTE":
            stored = np.frombuffer(data[offset + 8 : offset + 8 + length], np.uint8)
            palette = stored[: length // 3 * 3].reshape(-1, 3)
        elif name == b"IDAT":
            parts.append(data[offset : offset + 12 + length])
        offset += 12 + length
    return b"".join([*parts, data[offset:]]), palette, 255 // ((1 << bits) - 1)


def bmp_as_grey(data: bytes) -> tuple[bytes, NDArray[np.uint8], int]:
    """Replace the palette of a BMP by grey values, so that it decodes to its indices."""
    colours = bmp_palette(data)
    dib = struct.unpack_from("<I", data, 14)[0]
    unused = b"" if dib == 12 else b"\0"
    greys = b"".join(bytes([index] * 3) + unused for index in range(len(colours)))
    palette = np.array([list(colour[::-1]) for colour in colours], np.uint8)
    start = 14 + dib
    return data[:start] + greys + data[start + len(greys) :], palette, 1
