"""What one prediction scores on one image, against hand calculation and slow loops."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.evaluation.held_out.measure import THRESHOLDS, ThresholdSearch, dice_by_threshold
from harness.evaluation.held_out.scores import (
    CHOSEN_COLUMNS,
    EXTRA_COLUMNS,
    count_truth_objects,
    extra_columns,
    iter_class_planes,
    make_entry,
    mean_over_thresholds,
)

BINARY = StudyDataConfig()
THREE = StudyDataConfig(task="multiclass", classes=("ground", "disc", "bar"), ignore_index=255)
TAGS = StudyDataConfig(task="multilabel", classes=("disc", "any"))


def row(*values: float) -> NDArray[np.float32]:
    """A probability map of one row, (1, 1, W)."""
    return np.array([[values]], np.float32)


def mask(*values: int) -> NDArray[np.uint8]:
    return np.array([values], np.uint8)


def test_counts_of_two_classes_by_hand() -> None:
    (plane,) = iter_class_planes(row(0.9, 0.5, 0.49, 0.2, 0.7), mask(1, 1, 1, 0, 0), BINARY)
    name, *numbers = make_entry(4, "a.png", plane)[1:]
    assert name == "a.png"
    assert numbers == pytest.approx([1, 0.9 + 0.5 + 0.49, 2.79, 3, 2, 1, 1, 1], abs=1e-6)
    more = extra_columns(plane, (1, 5), {1: 0.6})
    assert list(more) == [*EXTRA_COLUMNS, *CHOSEN_COLUMNS]
    assert [more[name] for name in ("height", "width", "objects")] == [1, 5, 1]
    assert [more[name] for name in CHOSEN_COLUMNS] == [1, 1, 2, 1]


def test_void_pixels_count_nowhere() -> None:
    (plane,) = iter_class_planes(
        row(0.9, 0.9, 0.9, 0.1), mask(1, IGNORE_INDEX, 0, IGNORE_INDEX), BINARY
    )
    assert make_entry(0, "a", plane)[6:] == (1, 1, 0, 0)
    assert plane.p.size == 2


def test_an_image_of_void_alone_gives_zeros() -> None:
    (plane,) = iter_class_planes(row(0.9, 0.1), mask(IGNORE_INDEX, IGNORE_INDEX), BINARY)
    assert make_entry(0, "a", plane)[3:] == (0.0, 0.0, 0.0, 0, 0, 0, 0)
    assert math.isnan(extra_columns(plane, (1, 2), {1: 0.5})["dice_256"])


def test_several_classes_are_decided_by_the_most_probable() -> None:
    p = np.array([[[0.5, 0.2, 0.3]], [[0.3, 0.5, 0.3]], [[0.2, 0.3, 0.4]]], np.float32)
    ground, disc, bar = iter_class_planes(p, mask(0, 2, 2), THREE)
    assert make_entry(0, "a", ground)[6:] == (1, 0, 0, 2)
    assert make_entry(0, "a", disc)[6:] == (0, 1, 0, 2)
    assert make_entry(0, "a", bar)[6:] == (1, 0, 1, 1)
    assert set(extra_columns(bar, (1, 3), None)) == set(EXTRA_COLUMNS)


def test_labels_have_a_plane_and_a_threshold_each() -> None:
    p = np.array([[[0.6, 0.2]], [[0.4, 0.8]]], np.float32)
    truth = np.array([[[1, 1], [0, 1]]], np.uint8)
    disc, both = iter_class_planes(p, truth, TAGS)
    assert make_entry(0, "a", disc)[6:] == (1, 0, 0, 1)
    assert make_entry(0, "a", both)[6:] == (1, 0, 1, 0)
    assert extra_columns(both, (1, 2), {0: 0.5, 1: 0.3})["tp_chosen"] == 2


def test_objects_that_touch_at_a_corner_are_one() -> None:
    truth = np.array([[1, 0, 0, 1], [0, 1, 0, 0]], np.uint8)
    (plane,) = iter_class_planes(np.zeros((1, 2, 4), np.float32), truth, BINARY)
    assert plane.n_objects == 2


def test_a_perfect_map_loses_only_the_threshold_of_zero() -> None:
    """At t = 0 all 8 pixels are found: Dice 2*2 / (8 + 2), IoU 2/8; at the 255 others 1."""
    y = np.array([1, 1, 0, 0, 0, 0, 0, 0], bool)
    dice, iou = mean_over_thresholds(y.astype(np.float32), y)
    assert dice == pytest.approx((255 + 0.4) / 256, abs=1e-12)
    assert iou == pytest.approx((255 + 0.25) / 256, abs=1e-12)


def test_256_thresholds_as_a_loop_over_the_stretched_bytes_says() -> None:
    """The loop of the published evaluation: thresholds t / 255, no hit means 0."""
    random = np.random.default_rng(3)
    p = random.uniform(0.2, 0.6, 500).astype(np.float32)
    y = random.random(500) < p
    stretched = 255 * (p.astype(np.float64) - p.min()) / (float(p.max()) - float(p.min()))
    picture = np.floor(stretched + 0.5).astype(np.uint8)
    dice, iou = [], []
    for t in range(256):
        said = picture >= t
        hits = (said & y).sum()
        dice.append(2 * hits / (said.sum() + y.sum()) if hits else 0.0)
        iou.append(hits / (said | y).sum() if hits else 0.0)
    assert mean_over_thresholds(p, y) == pytest.approx((np.mean(dice), np.mean(iou)), abs=1e-12)


def test_a_map_of_one_value_is_black() -> None:
    y = np.array([True, False])
    assert mean_over_thresholds(np.full(2, 0.9, np.float32), y)[0] == pytest.approx((2 / 3) / 256)


def test_dice_at_every_threshold_as_a_loop_says() -> None:
    random = np.random.default_rng(1)
    p = np.round(random.random(400), 2).astype(np.float32)  # many lie on a threshold
    y = random.random(400) < 0.3
    loop = [2 * ((p >= t) & y).sum() / ((p >= t).sum() + y.sum()) for t in THRESHOLDS]
    assert dice_by_threshold(p, y) == pytest.approx(loop, abs=1e-15)
    assert (THRESHOLDS[0], THRESHOLDS[45], THRESHOLDS[-1]) == (0.05, 0.5, 0.95)
    assert len(THRESHOLDS) == 91


def best(*images: tuple[list[float], list[int]]) -> float:
    search = ThresholdSearch((1,))
    for values, truth in images:
        (plane,) = iter_class_planes(row(*values), mask(*truth), BINARY)
        search.add(plane)
    return search.best()[1]


def test_the_threshold_with_the_best_mean_dice_is_chosen() -> None:
    assert best(([0.3, 0.22, 0.1], [1, 0, 0])) == 0.3  # 0.23 to 0.30 are perfect
    assert best(([0.9, 0.75, 0.1], [1, 0, 0])) == 0.76


def test_of_equal_thresholds_the_one_nearest_to_a_half_is_chosen() -> None:
    assert best(([0.7, 0.3], [1, 0])) == 0.5


def test_of_two_as_near_the_lower_is_chosen() -> None:
    """Up to 0.47 the Dice are 1 and 2/3, above 0.52 they are 2/3 and 1, between 2/3 and 2/3."""
    assert best(([0.99, 0.47], [1, 1]), ([0.99, 0.52], [1, 0])) == 0.47


def test_images_with_nothing_to_find_choose_nothing() -> None:
    assert best(([0.9, 0.9], [0, 0])) == 0.5
    assert best(([0.9, 0.9], [0, 0]), ([0.3, 0.2], [1, 0])) == 0.3


def test_specks_of_compression_are_no_objects() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[0:2, 0:3] = 1
    mask[7, 7] = mask[5, 0] = 1
    assert count_truth_objects(mask == 1) == 1
    mask[0:2, 0:3] = 0
    assert count_truth_objects(mask == 1) == 2, "small objects count where there is nothing else"
    assert count_truth_objects(mask == 2) == 0
