"""Seam index, by hand."""

import numpy as np
import pytest

from harness.data.windows.grid import WindowGrid
from harness.training.metrics.seam_index import SeamCounter


def index_of(decisions: np.ndarray, side: int, overlap: float, band: int = 1000) -> float | None:
    counter = SeamCounter()
    counter.start_image(WindowGrid(*decisions.shape[1:], side, overlap))
    for top in range(0, decisions.shape[1], band):
        counter.add_band(top, decisions[:, top : top + band])
    return counter.index()


@pytest.mark.parametrize("band", [1, 3, 8])
def test_a_step_at_a_border_is_counted_against_the_steps_elsewhere(band: int) -> None:
    """8 x 8 px, windows of 4 px: a step along column 4 (8 pairs), and one along row 2 (8 pairs).

    One border line in each direction: 16 pairs, 8 differ. Elsewhere 2 x 6 lines: 96 pairs, of
    which 8 differ.
    """
    decisions = np.zeros((1, 8, 8), np.uint8)
    decisions[0, :, 4:] ^= 1
    decisions[0, 2:] ^= 1
    assert index_of(decisions, 4, 0.0, band) == pytest.approx((8 / 16) / (8 / 96))


def test_windows_that_overlap_begin_and_end_at_borders() -> None:
    """Windows of 4 px at 0, 2 and 4 of 8 px: borders before pixels 2, 4 and 6."""
    decisions = np.zeros((1, 8, 8), np.uint8)
    decisions[0, :, 6:] ^= 1  # at a border
    decisions[0, :, 3:] ^= 1  # elsewhere
    assert index_of(decisions, 4, 0.5) == pytest.approx((8 / 48) / (8 / 64))


def test_classes_of_several_planes_count_together() -> None:
    decisions = np.zeros((2, 8, 8), np.bool_)
    decisions[0, :, 4:] = True
    decisions[1, :, 1:] = True
    assert index_of(decisions, 4, 0.0) == pytest.approx((8 / 16) / (8 / 96))


@pytest.mark.parametrize("side", [4, 8])
def test_no_index_without_a_change_or_without_a_border(side: int) -> None:
    decisions = np.zeros((1, 8, 8), np.uint8)
    decisions[0, :, 3:] = side == 8
    assert index_of(decisions, side, 0.0) is None
