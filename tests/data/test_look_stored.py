"""How pictures are stored, told from their files."""

import struct

import cv2
import numpy as np
import pytest

from harness.data.files.headers import ImageFileInfo, describe_image, read_header
from tests.data.make import encode, picture


def described(data: bytes) -> ImageFileInfo:
    return describe_image(read_header(data))


def test_png_modes() -> None:
    rgba = np.dstack([picture(1), np.full((24, 32), 9, np.uint8)])
    assert described(cv2.imencode(".png", rgba)[1].tobytes()).mode == "RGBA"
    assert described(encode(".png", picture(1)[:, :, 0])).mode == "grey"
    deep = cv2.imencode(".png", picture(1).astype(np.uint16) * 257)[1].tobytes()
    assert described(deep) == ImageFileInfo("PNG", "RGB", 16, 1)


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jpg", "JPEG"), (".bmp", "BMP"), (".tif", "TIFF"), (".webp", "WebP")]
)
def test_other_kinds(suffix: str, kind: str) -> None:
    assert described(encode(suffix, picture(1))) == ImageFileInfo(kind, "RGB", 8, 1)


def test_grey_jpeg_and_grey_deep_tiff() -> None:
    assert described(encode(".jpg", picture(1)[:, :, 0])).mode == "grey"
    deep = cv2.imencode(".tif", picture(1)[:, :, 0].astype(np.uint16))[1].tobytes()
    assert described(deep) == ImageFileInfo("TIFF", "grey", 16, 1)


def test_cmyk_jpeg_by_its_four_components() -> None:
    data = encode(".jpg", picture(1))
    at = data.index(b"\xff\xc0")
    frame = struct.pack(">BHHB", 8, 24, 32, 4) + bytes([1, 17, 0, 2, 17, 0, 3, 17, 0, 4, 17, 0])
    old = struct.unpack_from(">H", data, at + 2)[0]
    four = data[: at + 2] + struct.pack(">H", len(frame) + 2) + frame + data[at + 2 + old :]
    assert described(four).mode == "CMYK"
