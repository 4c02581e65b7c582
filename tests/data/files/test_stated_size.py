"""Large files are judged by the size that they state, before they are read as a whole."""

import io
import os
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from harness.core.errors import DataError
from harness.data.files.image_io import read_image
from harness.data.files.stated_size import METADATA_BYTES, read_stated_size
from tests.data.make import encode, picture
from tests.data.odd_files import pil, tags, tiff, tiff_of

SMALL = picture(1)  # 24 x 32
LENGTH = 100_000_000
KINDS = {
    **{kind: encode(kind, SMALL) for kind in (".jpg", ".png", ".bmp", ".tif", ".webp")},
    "lossless.webp": pil(Image.fromarray(SMALL), "WEBP", lossless=True),
    "extended.webp": pil(Image.fromarray(SMALL), "WEBP", exif=b"Exif\0\0" + bytes(20)),
    "big.tif": tiff(SMALL, photometric="rgb", bigtiff=True),
    "big-endian.tif": tiff(SMALL, photometric="rgb", byteorder=">"),
}


def lengthened(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    os.truncate(path, LENGTH)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_size_of_a_large_file_is_that_of_its_header(kind: str) -> None:
    handle = io.BytesIO(KINDS[kind] + bytes(100))
    with pytest.raises(ValueError, match="100,000,000 bytes; too large for an image of 32x24"):
        read_stated_size(handle, LENGTH)


@pytest.mark.parametrize("kind", KINDS)
def test_small_image_in_a_large_file_is_refused_unread(kind: str, tmp_path: Path) -> None:
    path = lengthened(tmp_path / kind, KINDS[kind])
    tracemalloc.start()
    with pytest.raises(DataError, match="too large for an image of 32x24"):
        read_image(path, 100e6)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * METADATA_BYTES < LENGTH


@pytest.mark.parametrize("start", [b"", b"no image", b"\xff\xd8\xff\xe0\0\x10JFIF", b"II*\0"])
def test_large_file_without_an_image_is_refused_unread(start: bytes, tmp_path: Path) -> None:
    path = lengthened(tmp_path / "a.jpg", start)
    with pytest.raises(DataError, match=r"not a JPEG|ends too early|too large|damaged TIFF"):
        read_image(path, 100e6)


def test_directory_of_a_tiff_may_be_at_its_end() -> None:
    small = tiff_of(tags())
    moved = small[:4] + (LENGTH // 2).to_bytes(4, "little") + bytes(LENGTH // 2 - 8) + small[80:]
    handle = io.BytesIO(moved)
    with pytest.raises(ValueError, match="too large for an image of 8x8"):
        read_stated_size(handle, len(moved))
    beyond = io.BytesIO(small[:4] + b"\xff\xff\xff\xff" + bytes(100))
    with pytest.raises(ValueError, match="too early"):
        read_stated_size(beyond, LENGTH)


def test_large_image_is_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(encode(".png", noise, cv2.IMWRITE_PNG_COMPRESSION, 0))
    assert path.stat().st_size > METADATA_BYTES
    np.testing.assert_array_equal(read_image(path, 6e6), noise)
    with pytest.raises(DataError, match="3000x2000 is more than 5,000,000 pixels"):
        read_image(path, 5e6)
