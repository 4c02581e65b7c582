"""Pictures as files: PNG, and addresses that a page carries in itself."""

import base64
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError

_SMALLEST: Final = [cv2.IMWRITE_PNG_COMPRESSION, 9]
_BGR: Final = {3: [2, 1, 0], 4: [2, 1, 0, 3]}  # as OpenCV has them


def encode_png(picture: NDArray[Any], *, smallest: bool = False) -> bytes:
    """A picture as a PNG file.

    Args:
        picture: uint8 or uint16, (H, W), or (H, W, C) of grey, RGB or RGBA.
        smallest: take more time for fewer bytes.

    Raises:
        DataError: PNG holds no such picture.
    """
    return _encode_image(picture, ".png", _SMALLEST if smallest else [])


def data_uri(picture: NDArray[np.uint8], exact: bool = False, quality: int = 86) -> str:
    """A picture as a `data:` address: RGB (H, W, 3) as WebP, unless `exact`; a mask (H, W) as PNG.

    A PNG is exact.

    Args:
        quality: of WebP, 1 to 100.
    """
    if picture.ndim == 3 and not exact:
        kind, data = "webp", _encode_image(picture, ".webp", [cv2.IMWRITE_WEBP_QUALITY, quality])
    else:
        kind, data = "png", encode_png(picture, smallest=True)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _encode_image(picture: NDArray[Any], suffix: str, settings: list[int]) -> bytes:
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if channels not in (1, 3, 4):
        raise DataError(f"{suffix[1:].upper()} holds no picture of {channels} channels")
    stored = np.ascontiguousarray(picture[..., _BGR[channels]] if channels > 1 else picture)
    success, data = cv2.imencode(suffix, stored, settings)
    if not success:
        raise DataError(f"a picture of {picture.shape} could not be stored as {suffix[1:].upper()}")
    return data.tobytes()
