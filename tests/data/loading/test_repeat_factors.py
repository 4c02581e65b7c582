"""Repeat factors of images with rare classes, by hand."""

import numpy as np
import pytest

from harness.config.data import StudyDataConfig
from harness.data.loading.mask_counts import count_native_masks
from harness.data.loading.repeat_factors import (
    MAX_REPEATS,
    foreground_presence,
    repeat_factors,
)
from harness.data.windows.window import DecodedImages

# 9 images: class 0 is in all but the last, class 1 in the first two.
PRESENCE = np.array([[True, True]] * 2 + [[True, False]] * 6 + [[False, False]])


def test_factor_is_the_square_root_of_the_ratio_of_shares() -> None:
    """Shares 8/9 and 2/9: images with class 1 are drawn sqrt(4) = 2 times, the others once."""
    factors = repeat_factors(PRESENCE, "classes")
    np.testing.assert_allclose(factors, [2, 2, 1, 1, 1, 1, 1, 1, 1])


def test_foreground_counts_all_classes_as_one() -> None:
    factors = repeat_factors(PRESENCE, "foreground")
    np.testing.assert_allclose(factors, [np.sqrt(9 / 8)] * 8 + [1])


def test_uniform_draws_each_image_once() -> None:
    assert repeat_factors(PRESENCE, "uniform").tolist() == [1] * 9


def test_factor_is_capped() -> None:
    presence = np.zeros((100, 2), np.bool_)
    presence[:, 0], presence[3, 1] = True, True
    factors = repeat_factors(presence, "classes")
    assert factors[3] == MAX_REPEATS
    assert factors.sum() == 99 + MAX_REPEATS


@pytest.mark.parametrize("sampling", ["foreground", "classes"])
def test_images_without_any_foreground_are_drawn_once(sampling: str) -> None:
    factors = repeat_factors(np.zeros((4, 2), np.bool_), sampling)  # type: ignore[arg-type]
    assert factors.tolist() == [1, 1, 1, 1]


def test_presence_is_read_from_the_masks() -> None:
    data = StudyDataConfig(task="multiclass", classes=("background", "a", "b"))
    masks = [np.full((2, 2), k, np.uint8) for k in (0, 1, 2)]
    images = [np.zeros((2, 2, 3), np.uint8)] * 3
    counts = count_native_masks(DecodedImages(images, masks), range(3), 3)
    expected = [[False, False], [True, False], [False, True]]
    assert foreground_presence(counts.class_pixels, data).tolist() == expected
