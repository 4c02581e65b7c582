"""Encode images as PNG files and as `data:` addresses inside an HTML page."""

import base64
import struct
import zlib
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError

_SMALLEST: Final = [cv2.IMWRITE_PNG_COMPRESSION, 9]
_BGR: Final = {3: [2, 1, 0], 4: [2, 1, 0, 3]}  # channel order of OpenCV


def encode_png(image: NDArray[Any], *, smallest: bool = False) -> bytes:
    """Encode an image as a PNG file.

    Args:
        image: uint8 or uint16, (H, W), or (H, W, C) of grey, RGB or RGBA.
        smallest: compress at the highest level, which is slower.

    Raises:
        DataError: PNG cannot hold that number of channels.
    """
    return _encode_image(image, ".png", _SMALLEST if smallest else [])


def encode_indexed_png(indices: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """Encode indices (H, W) as a PNG with a palette (n, 3) of RGB colours, n at most 256."""
    data = encode_png(indices)
    # Pixels of 8-bit grey and of 8-bit indices are stored alike, so the header alone changes: the
    # colour type, at byte 25, and a palette after the header, which ends at byte 33.
    header = b"IHDR" + data[16:25] + b"\x03" + data[26:29]
    return b"".join(
        [data[:8], _png_chunk(header), _png_chunk(b"PLTE" + palette.tobytes()), data[33:]]
    )


def _png_chunk(content: bytes) -> bytes:
    """Chunk of a PNG from its name and data."""
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def encode_jpeg(image: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Encode RGB (H, W, 3) or grey (H, W) as JPEG of a quality from 1 to 100."""
    return _encode_image(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])


def data_uri(image: NDArray[np.uint8], exact: bool = False, quality: int = 86) -> str:
    """Encode an image as a `data:` address: RGB (H, W, 3) as WebP, a mask (H, W) as PNG.

    Args:
        exact: Use lossless PNG for RGB too.
        quality: Quality of WebP, 1 to 100.
    """
    if image.ndim == 3 and not exact:
        kind, data = "webp", _encode_image(image, ".webp", [cv2.IMWRITE_WEBP_QUALITY, quality])
    else:
        kind, data = "png", encode_png(image, smallest=True)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _encode_image(image: NDArray[Any], suffix: str, settings: list[int]) -> bytes:
    channels = image.shape[2] if image.ndim == 3 else 1
    if channels not in (1, 3, 4):
        raise DataError(f"{suffix[1:].upper()} cannot hold an image of {channels} channels")
    # OpenCV stores BGR; given RGB it would swap red and blue without an error.
    stored = np.ascontiguousarray(image[..., _BGR[channels]] if channels > 1 else image)
    success, data = cv2.imencode(suffix, stored, settings)
    if not success:
        raise DataError(f"an image of {image.shape} could not be stored as {suffix[1:].upper()}")
    return data.tobytes()
