import numpy as np
import pytest

from harness.data.windows.window import DecodedImages, Window


def make_images() -> DecodedImages:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    mask = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6)
    return DecodedImages([image], [mask])


def test_window_of_image_and_mask_are_the_same_region() -> None:
    images = make_images()
    window = Window(top=1, left=2, height=2, width=3)
    assert images.shape(0) == (4, 6, 3)
    assert images.read_mask(0, window).tolist() == [[8, 9, 10], [14, 15, 16]]
    assert images.read_image(0, window)[..., 0].tolist() == [[24, 27, 30], [42, 45, 48]]


@pytest.mark.parametrize(
    "window", [Window(-1, 0, 2, 2), Window(0, 5, 2, 2), Window(3, 0, 2, 2), Window(0, 0, 0, 2)]
)
def test_window_outside_the_image_is_refused(window: Window) -> None:
    with pytest.raises(ValueError, match="does not lie inside 6x4 pixels"):
        make_images().read_image(0, window)


def test_change_of_a_window_leaves_the_image_alone() -> None:
    images = make_images()
    images.read_image(0, Window(0, 0, 4, 6))[...] = 255
    assert images.images[0].max() == 71
