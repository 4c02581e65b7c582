"""Pictures as files and addresses."""

import base64

import cv2
import numpy as np
import pytest

from harness.core.errors import DataError
from harness.data.files.encode import data_uri, encode_png


def decoded(data: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("smallest", [False, True])
def test_png_is_exact(kind: type[np.integer], smallest: bool) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, np.iinfo(kind).max, (5, 7), kind)
    colours = rng.integers(0, np.iinfo(kind).max, (5, 7, 4), kind)
    assert np.array_equal(decoded(encode_png(grey, smallest=smallest)), grey)
    assert np.array_equal(decoded(encode_png(grey[..., None], smallest=smallest)), grey)
    bgra = decoded(encode_png(colours, smallest=smallest))
    assert np.array_equal(bgra[..., [2, 1, 0, 3]], colours)
    assert np.array_equal(decoded(encode_png(colours[..., :3]))[..., ::-1], colours[..., :3])


def test_png_holds_no_two_or_five_channels() -> None:
    for channels in (2, 5):
        with pytest.raises(DataError, match=f"PNG cannot hold an image of {channels} channels"):
            encode_png(np.zeros((4, 4, channels), np.uint8))


def test_masks_become_exact_addresses_and_photographs_small_ones() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[5:9, 7:30] = 255
    head, data = data_uri(mask).split(",")
    assert head == "data:image/png;base64"
    assert (decoded(base64.b64decode(data)) == mask).all()
    red = np.full((40, 40, 3), (250, 10, 10), np.uint8)
    head, data = data_uri(red).split(",")
    assert head == "data:image/webp;base64"
    assert decoded(base64.b64decode(data))[20, 20] == pytest.approx([10, 10, 250], abs=8)  # BGR
    head, data = data_uri(red, exact=True).split(",")
    assert head == "data:image/png;base64"
    assert (decoded(base64.b64decode(data))[..., ::-1] == red).all()
