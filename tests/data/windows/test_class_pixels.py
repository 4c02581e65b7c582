"""Pixels of classes, drawn by the inverse of the classes' shares."""

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.data.windows.class_pixels import ClassPixels, class_map
from harness.data.windows.window import DecodedImages

THREE = StudyDataConfig(task="multiclass", classes=("background", "common", "rare"))


def source_of(*masks: NDArray[np.uint8]) -> DecodedImages:
    images = [np.zeros((*mask.shape[:2], 3), np.uint8) for mask in masks]
    return DecodedImages(images, list(masks))


def masks() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """10,000 pixels of a common class in the first image, 100 of a rare one in the second."""
    first, second = np.zeros((150, 200), np.uint8), np.zeros((70, 90), np.uint8)
    first[30:130, 50:150] = 1
    second[60:70, 80:90] = 2
    second[:5] = IGNORE_INDEX
    return first, second


def test_counts_are_those_of_the_masks() -> None:
    assert ClassPixels(source_of(*masks()), [0, 1], THREE).counts.tolist() == [[10000, 0], [0, 100]]


def test_drawn_pixels_belong_to_the_class_and_the_rare_class_is_drawn_more_often() -> None:
    """Inverse shares of 10,000 and 100 pixels: 100 of 101 draws are of the rare class."""
    both = masks()
    pixels, generator = ClassPixels(source_of(*both), [0, 1], THREE), np.random.default_rng(0)
    drawn = [pixels.draw(generator) for _ in range(2000)]
    classes = [int(both[row][y, x]) for row, y, x in drawn]
    assert set(classes) == {1, 2}
    # 2000 draws at p = 100/101: 19.8 of the common class are expected, standard deviation 4.4.
    assert 5 <= classes.count(1) <= 40


def test_every_pixel_of_a_class_can_be_drawn() -> None:
    mask = np.zeros((130, 67), np.uint8)
    mask[[0, 63, 64, 129, 100], [0, 63, 64, 66, 2]] = 1
    pixels, generator = ClassPixels(source_of(mask), [0], THREE), np.random.default_rng(1)
    drawn = [pixels.draw(generator)[1:] for _ in range(1000)]
    assert set(drawn) == {(0, 0), (63, 63), (64, 64), (129, 66), (100, 2)}
    # 200 expected of each, standard deviation 12.6.
    assert all(140 <= drawn.count(place) <= 260 for place in set(drawn))


def test_rows_may_be_some_of_the_images() -> None:
    pixels = ClassPixels(source_of(*masks()), [1], THREE)
    assert pixels.draw(np.random.default_rng(0)).row == 1


def test_images_without_foreground_are_empty() -> None:
    assert ClassPixels(source_of(np.zeros((40, 40), np.uint8)), [0], THREE).is_empty


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (StudyDataConfig(), (1,)),
        (THREE, (1, 2)),
        (StudyDataConfig(task="multiclass", classes=("sky", "road")), (0, 1)),
        (StudyDataConfig(task="multilabel", classes=("a", "b")), (0, 1)),
    ],
)
def test_foreground_is_every_scored_class_but_background(
    data: StudyDataConfig, expected: tuple[int, ...]
) -> None:
    assert data.foreground_classes == expected


def test_class_of_a_multilabel_mask_is_a_plane() -> None:
    mask = np.zeros((2, 2, 2), np.uint8)
    mask[0, 1, 1] = 1
    data = StudyDataConfig(task="multilabel", classes=("a", "b"))
    assert class_map(mask, 1, data).tolist() == [[False, True], [False, False]]
