"""Windows that cover an image, and weights that add up to 1."""

import numpy as np
import pytest

from harness.data.windows.grid import WindowGrid, axis_weights, count_tiles, window_starts


@pytest.mark.parametrize(
    ("length", "side", "overlap", "expected"),
    [
        (64, 64, 0.5, (0,)),
        (40, 64, 0.5, (0,)),
        (128, 64, 0.0, (0, 64)),
        (128, 64, 0.5, (0, 32, 64)),
        (130, 64, 0.5, (0, 32, 64, 66)),
        (65, 64, 0.0, (0, 1)),
        (20, 16, 0.9, (0, 1, 2, 3, 4)),
    ],
)
def test_windows_start_at_equal_distances_and_the_last_ends_at_the_border(
    length: int, side: int, overlap: float, expected: tuple[int, ...]
) -> None:
    assert window_starts(length, side, overlap) == expected


def test_weights_of_a_pixel_add_up_to_one() -> None:
    starts = window_starts(150, 64, 0.5)
    totals = np.zeros(150)
    for start, weights in zip(starts, axis_weights(150, 64, starts), strict=True):
        totals[start : start + 64] += weights
    np.testing.assert_allclose(totals, 1, atol=1e-6)


def test_weight_is_exactly_one_where_a_single_window_contains_the_pixel() -> None:
    assert (axis_weights(128, 64, window_starts(128, 64, 0.0)) == 1).all()
    assert (axis_weights(30, 64, (0,)) == 1).all()


def test_weights_of_two_windows_are_equal_half_way_between_their_centres() -> None:
    """Windows of 4 px at 0 and 2: pixels 2 and 3 are mirror images of each other."""
    first, second = axis_weights(6, 4, (0, 2)).tolist()
    # Distances in units of sigma (half a pixel): pixel 2 is 1 and 3 away from the two centres.
    near, far = np.exp(-0.5 * 1.0**2), np.exp(-0.5 * 3.0**2)
    np.testing.assert_allclose(first[2:], [near / (near + far), far / (near + far)], rtol=1e-6)
    np.testing.assert_allclose(second[:2], [far / (near + far), near / (near + far)], rtol=1e-6)


def test_grid_cuts_windows_at_the_side_that_is_shorter_than_a_window() -> None:
    grid = WindowGrid(40, 128, 64, 0.5)
    assert [grid.window(0, n).width for n in range(len(grid.lefts))] == [64, 64, 64]
    assert grid.window(0, 2).height == 40
    assert grid.window(0, 2).left == 64


def test_tiles_that_cover_an_image_are_counted_without_overlap() -> None:
    assert [count_tiles(h, w, 64) for h, w in ((64, 64), (65, 64), (128, 190))] == [1, 2, 6]
