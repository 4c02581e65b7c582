"""Small images, masks and folders to test on."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig

Array8 = NDArray[np.uint8]
DATA = StudyDataConfig()
MAX_PIXELS = 1e6


def picture(seed: int, height: int = 24, width: int = 32) -> Array8:
    """A smooth RGB picture that no other seed gives."""
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (0, 0), 2)


def square(height: int = 24, width: int = 32) -> Array8:
    """A mask in {0, 1} with an 8x10 rectangle."""
    mask = np.zeros((height, width), np.uint8)
    mask[4:12, 6:16] = 1
    return mask


def encode(suffix: str, image: Array8, *options: int) -> bytes:
    """The file of an RGB or grey picture."""
    stored = image[:, :, ::-1] if image.ndim == 3 and image.shape[2] == 3 else image
    return cv2.imencode(suffix, stored, list(options))[1].tobytes()


def save(path: Path, data: bytes | Array8) -> Path:
    """Write bytes, or encode an image by the suffix of the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else encode(path.suffix, data))
    return path


def folder(root: Path, n: int, *, first: int = 0) -> Path:
    """A dataset of n different pairs: images/000.png and masks/000.png and so on."""
    for index in range(first, first + n):
        save(root / "images" / f"{index:03d}.png", picture(index))
        save(root / "masks" / f"{index:03d}.png", 255 * square())
    return root


def exif(orientation: int, order: str = "<") -> bytes:
    """An EXIF block of one tag, as it stands in a JPEG behind its marker."""
    import struct

    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    body = mark + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", 1) + entry + bytes(4)
    block = b"Exif\0\0" + body
    return b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
