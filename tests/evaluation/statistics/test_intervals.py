import numpy as np
import pytest
from scipy import stats

from harness.evaluation.statistics.intervals import MIN_IMAGES, mean_interval
from tests.evaluation.simulated import DICE_MEAN, dice_like


def test_interval_is_scipys_bca_of_the_mean() -> None:
    values = dice_like(np.random.default_rng(3), (120,))
    found = mean_interval(values)
    oracle = stats.bootstrap((values,), np.mean, n_resamples=100_000, method="BCa", batch=2000)
    assert found is not None
    assert found.mean == pytest.approx(values.mean(), abs=1e-15)
    # 2,000 resamples against 100,000: an end of the interval moves by some hundredths of its width
    width = found.high - found.low
    assert found.low == pytest.approx(oracle.confidence_interval.low, abs=width / 15)
    assert found.high == pytest.approx(oracle.confidence_interval.high, abs=width / 15)


def test_interval_reaches_farther_to_the_side_of_the_tail() -> None:
    """Most images are good and some are bad: the mean is less sure downwards."""
    values = np.concatenate([np.full(95, 0.9), np.zeros(5)])
    found = mean_interval(values)
    assert found is not None
    assert found.mean - found.low > 1.2 * (found.high - found.mean)


def test_too_few_images_have_no_interval() -> None:
    values = np.linspace(0.5, 1.0, MIN_IMAGES)
    assert mean_interval(values[1:]) is None
    found = mean_interval(values)
    assert found is not None and found.n == MIN_IMAGES == 50


def test_values_that_are_not_finite_do_not_count() -> None:
    values = np.linspace(0.5, 1.0, 60)
    found = mean_interval(np.concatenate([values, [np.nan, np.inf]]))
    assert found is not None and found == mean_interval(values)
    assert found.n == 60


def test_equal_values_have_a_width_of_zero() -> None:
    found = mean_interval(np.full(80, 0.7))
    assert found is not None
    assert (found.low, found.mean, found.high) == (pytest.approx(0.7),) * 3


@pytest.mark.parametrize("odd", [0.0, 0.999])
def test_one_odd_image_among_equal_ones_has_an_interval(odd: float) -> None:
    found = mean_interval(np.array([1.0] * 99 + [odd]))
    assert found is not None
    assert found.low < found.mean < found.high <= 1.0


def test_same_seed_same_interval_and_higher_level_wider() -> None:
    values = dice_like(np.random.default_rng(4), (100,))
    first, again = mean_interval(values, seed=1), mean_interval(values, seed=1)
    wide = mean_interval(values, level=0.99, seed=1)
    assert first == again and first is not None and wide is not None
    assert wide.low < first.low < first.high < wide.high


@pytest.mark.slow
def test_intervals_hold_the_true_mean_in_93_to_97_of_100_data_sets() -> None:
    """2,000 data sets of 120 skewed values with masses near 0 and 1."""
    sets = dice_like(np.random.default_rng(0), (2000, 120))
    found = [mean_interval(values, seed=k) for k, values in enumerate(sets)]
    held = [each is not None and each.low <= DICE_MEAN <= each.high for each in found]
    assert 0.93 <= np.mean(held) <= 0.97
