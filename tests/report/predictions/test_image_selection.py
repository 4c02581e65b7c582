import math

import numpy as np
import pytest

from harness.report.predictions.image_selection import (
    ImageSelection,
    describe_shape,
    merge_selections,
    select_farthest,
    select_sample_images,
)


def test_from_worst_to_best_at_equal_steps_of_the_order() -> None:
    dice = {10: 0.9, 11: 0.1, 12: 0.5, 13: 0.7, 14: 0.2}
    assert select_sample_images(dice, {}, n_graded=3) == [
        ImageSelection(11, "worst"),
        ImageSelection(12, "better than 50% of the other images"),
        ImageSelection(10, "best"),
    ]


def test_an_image_is_shown_once_even_if_it_is_all_of_them() -> None:
    assert select_sample_images({4: 0.5}, {4: np.zeros(5)}) == [ImageSelection(4, "worst")]
    assert select_sample_images({}, {}) == []


def test_equal_scores_are_taken_in_order_of_row() -> None:
    chosen = select_sample_images(dict.fromkeys([9, 3, 7], 0.5), {}, n_graded=3)
    assert [one.row for one in chosen] == [3, 7, 9]


def test_farthest_takes_the_most_distant_then_the_next() -> None:
    """On a line 0, 1, 2, 9 with 0 taken: 9 is farthest, then 2 (2 from 0, 7 from 9)."""
    shapes = {row: np.array([x, 0.0]) for row, x in enumerate([0.0, 1.0, 2.0, 9.0])}
    assert select_farthest(shapes, [0], 2) == [3, 2]


def test_farthest_weighs_each_descriptor_by_its_spread() -> None:
    """Row 2 differs by 100 on an axis that spreads widely, row 1 by 1 on one that hardly does."""
    shapes = {
        0: np.array([0.0, 0.0]),
        1: np.array([0.0, 1.0]),
        2: np.array([100.0, 0.0]),
        3: np.array([300.0, 0.0]),
        4: np.array([-300.0, 0.0]),
    }
    # spreads: 195.96 and 0.4, so row 1 is 2.5 away, rows 3 and 4 1.53, row 2 0.51
    assert select_farthest(shapes, [0], 1) == [1]


def test_farthest_stops_when_all_are_taken() -> None:
    shapes = {1: np.array([0.0]), 2: np.array([1.0])}
    assert sorted(select_farthest(shapes, [], 5)) == [1, 2]
    assert select_farthest({}, [], 3) == []


def test_describe_two_squares() -> None:
    """Two 4 x 4 squares on 20 x 20, side by side and 8 apart: all five numbers by hand."""
    mask = np.zeros((20, 20), np.uint8)
    mask[8:12, 2:6] = 1
    mask[8:12, 14:18] = 1
    shape = describe_shape(mask)
    assert shape is not None
    assert shape[0] == pytest.approx(math.log10(32 / 400))
    assert shape[1] == 1.0  # two objects
    # rows: (4² - 1) / 12 + 1/12; columns the same plus (12/2)² between the squares
    assert shape[2] == pytest.approx(math.log2(math.sqrt((16 / 12 + 36) / (16 / 12))))
    assert shape[3] == pytest.approx(32 / 64)  # hull: 4 x 16 pixels
    assert shape[4] == pytest.approx(0.0, abs=1e-9)  # centred


def test_describe_tells_corner_from_centre() -> None:
    mask = np.zeros((21, 21), np.uint8)
    mask[0, 0] = 1
    shape = describe_shape(mask)
    assert shape is not None and shape[4] == pytest.approx(20 / 21)


def test_describe_an_empty_mask_is_nothing() -> None:
    assert describe_shape(np.zeros((8, 8), np.uint8)) is None


def test_an_image_chosen_twice_is_shown_once_with_both_reasons() -> None:
    first, second = (
        [ImageSelection(3, "worst"), ImageSelection(5, "best")],
        [ImageSelection(3, "suspect")],
    )
    assert merge_selections(first, second) == [(3, ("worst", "suspect")), (5, ("best",))]
