import cv2
import numpy as np
import pytest

from harness.data.files.resize import (
    content_box,
    fit_image,
    fit_mask,
    resize_image,
    resize_mask,
    resize_truth,
)
from tests.data.make import picture


def test_image_is_averaged_on_the_way_down() -> None:
    """Halving averages blocks of 2x2: (0 + 0 + 100 + 100) / 4 and (40 + 80 + 120 + 160) / 4."""
    image = np.array([[0, 0, 40, 80], [100, 100, 120, 160]], np.uint8)[..., None].repeat(3, 2)
    small = resize_image(image, (1, 2))
    np.testing.assert_array_equal(small[0, :, 0], [50, 100])


def test_image_is_interpolated_on_the_way_up() -> None:
    """Doubling [0, 100] at pixel centres gives 0, 25, 75, 100."""
    image = np.array([[0, 100]], np.uint8)[..., None].repeat(3, 2)
    np.testing.assert_array_equal(resize_image(image, (1, 4))[0, :, 0], [0, 25, 75, 100])


def test_truth_keeps_a_pixel_that_is_half_covered() -> None:
    """Blocks of 2x2 with 0, 1, 2, 3 of 4 pixels set: the last two count."""
    mask = np.array([[0, 0, 1, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1, 0]], np.uint8)
    square = np.vstack([mask] * 4)
    np.testing.assert_array_equal(resize_truth(square, 4), [[0, 0, 1, 1]] * 4)


def test_truth_of_odd_sizes_equals_exact_area_sums() -> None:
    """An oracle in whole numbers: repeat each pixel, then count blocks; ties are 1."""
    rng = np.random.default_rng(0)
    mask = cv2.GaussianBlur(rng.random((21, 35)), (0, 0), 2) > 0.5
    mask = mask.astype(np.uint8)
    fine = np.kron(mask, np.ones((8, 8), np.uint8)).reshape(8, 21, 8, 35).sum((1, 3))
    np.testing.assert_array_equal(resize_truth(mask, 8), 2 * fine >= 21 * 35)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_same_size_changes_nothing(fit: str) -> None:
    np.testing.assert_array_equal(fit_image(picture(0), (24, 32), fit), picture(0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "size", "box"),
    [
        ((100, 200), (96, 96), (0, 0, 48, 96)),
        ((200, 100), (96, 96), (0, 0, 96, 48)),
        ((10, 1000), (64, 64), (0, 0, 1, 64)),
        ((50, 50), (64, 128), (0, 0, 64, 64)),
    ],
)
def test_pad_keeps_the_aspect_ratio(shape: object, size: object, box: object) -> None:
    assert content_box(shape, size, "pad") == box  # type: ignore[arg-type]


def test_pad_leaves_bottom_or_right_empty() -> None:
    image, mask = np.full((10, 20, 3), 200, np.uint8), np.ones((10, 20), np.uint8)
    fitted, fitted_mask = fit_image(image, (16, 16), "pad"), fit_mask(mask, (16, 16), "pad")
    assert fitted.shape == (16, 16, 3) and fitted_mask.shape == (16, 16)
    assert (fitted[:8] == 200).all() and not fitted[8:].any()
    assert (fitted_mask[:8] == 1).all() and not fitted_mask[8:].any()


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9])
def test_each_of_many_channels_is_resized_like_an_image_of_its_own(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    for size in ((8, 12), (40, 50)):
        whole = resize_image(image, size)
        assert whole.shape == (*size, channels) and whole.dtype == np.uint16
        for channel in range(channels):
            alone = resize_image(np.ascontiguousarray(image[..., channel]), size)
            # OpenCV has code of its own for some numbers of channels; it rounds otherwise
            assert np.abs(whole[..., channel].astype(int) - alone).max() <= 1


def test_indices_are_never_mixed_and_planes_are_reduced_alone() -> None:
    mask = np.random.default_rng(0).choice([0, 3, 7, 255], (33, 21)).astype(np.uint8)
    for size in ((11, 7), (50, 60)):
        assert set(np.unique(resize_mask(mask, size, nearest=True))) <= {0, 3, 7, 255}
    planes = np.stack([mask == value for value in (0, 3, 7, 255, 3)], axis=2).astype(np.uint8)
    reduced = resize_mask(planes, (11, 7))
    assert reduced.shape == (11, 7, 5)
    np.testing.assert_array_equal(reduced[..., 1], resize_mask(planes[..., 1].copy(), (11, 7)))
