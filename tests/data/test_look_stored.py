"""How pictures are stored, told from their files."""

import struct

import cv2
import numpy as np
import pytest

from harness.data.stored import MaskValues, Stored, describe_image, describe_mask, joined
from tests.data.make import Array8, encode, picture, square


def test_png_modes() -> None:
    rgba = np.dstack([picture(1), np.full((24, 32), 9, np.uint8)])
    assert describe_image(cv2.imencode(".png", rgba)[1].tobytes()).mode == "RGBA"
    assert describe_image(encode(".png", picture(1)[:, :, 0])).mode == "grey"
    deep = cv2.imencode(".png", picture(1).astype(np.uint16) * 257)[1].tobytes()
    assert describe_image(deep) == Stored("PNG", "RGB", 16, 1)


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jpg", "JPEG"), (".bmp", "BMP"), (".tif", "TIFF"), (".webp", "WebP")]
)
def test_other_kinds(suffix: str, kind: str) -> None:
    assert describe_image(encode(suffix, picture(1))) == Stored(kind, "RGB", 8, 1)


def test_grey_jpeg_and_grey_deep_tiff() -> None:
    assert describe_image(encode(".jpg", picture(1)[:, :, 0])).mode == "grey"
    deep = cv2.imencode(".tif", picture(1)[:, :, 0].astype(np.uint16))[1].tobytes()
    assert describe_image(deep) == Stored("TIFF", "grey", 16, 1)


def test_cmyk_jpeg_by_its_four_components() -> None:
    data = encode(".jpg", picture(1))
    at = data.index(b"\xff\xc0")
    frame = struct.pack(">BHHB", 8, 24, 32, 4) + bytes([1, 17, 0, 2, 17, 0, 3, 17, 0, 4, 17, 0])
    old = struct.unpack_from(">H", data, at + 2)[0]
    four = data[: at + 2] + struct.pack(">H", len(frame) + 2) + frame + data[at + 2 + old :]
    assert describe_image(four).mode == "CMYK"


def coloured() -> Array8:
    mask = np.zeros((24, 32, 3), np.uint8)
    mask[:5, :5] = (255, 128, 0)
    return mask


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (255 * square(), MaskValues("two-valued", ("0", "255"))),
        (np.zeros((4, 4), np.uint8), MaskValues("two-valued", ("0",))),
        (np.repeat(255 * square()[:, :, None], 3, 2), MaskValues("two-valued", ("0", "255"))),
        (
            np.arange(12, dtype=np.uint8).reshape(3, 4),
            MaskValues("indexed", tuple(str(n) for n in range(12))),
        ),
        (coloured(), MaskValues("colours", ("#000000", "#ff8000"))),
        (np.arange(100, dtype=np.uint8).reshape(10, 10), MaskValues("grey", ())),
    ],
)
def test_values_of_masks(mask: Array8, expected: MaskValues) -> None:
    assert describe_mask(encode(".png", mask)) == expected


def test_values_of_several_masks_are_in_order_of_number() -> None:
    two = [MaskValues("two-valued", ("0", "10")), MaskValues("two-valued", ("0", "9"))]
    assert joined(two) == MaskValues("indexed", ("0", "9", "10"))
    assert joined([*two, MaskValues("grey", ())]) == MaskValues("grey", ())
