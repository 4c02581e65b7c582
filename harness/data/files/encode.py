"""Encode images as PNG files and as `data:` addresses inside an HTML page."""

import base64
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
