import numpy as np
import pytest
from statsmodels.stats.power import TTestIndPower, TTestPower

from harness.evaluation.statistics.power import (
    required_images,
    required_images_for_interval,
    required_seeds,
)


@pytest.mark.parametrize(("sd", "difference"), [(0.0127, 0.03), (0.0127, 0.01), (0.03, 0.02)])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_seeds_of_two_configurations_are_those_of_the_t_test(
    sd: float, difference: float, power: float
) -> None:
    oracle = TTestIndPower().solve_power(difference / sd, alpha=0.05, power=power)
    assert required_seeds(sd, difference, power=power) == int(np.ceil(oracle))


def test_more_rivals_need_more_seeds() -> None:
    """Each of four comparisons must succeed with 95 %, so that all do with 80 %."""
    oracle = TTestIndPower().solve_power(0.03 / 0.0127, alpha=0.05, power=0.95)
    assert required_seeds(0.0127, 0.03, n_configurations=5) == int(np.ceil(oracle))


def test_no_number_of_seeds_does_where_the_images_are_too_few() -> None:
    """2.8 standard errors are needed for a power of 80 %; the images alone leave 2."""
    assert required_seeds(0.0127, 0.01, images_error=0.005) is None
    assert required_seeds(0.0127, 0.03, images_error=0.005) is not None


def test_images_error_raises_the_number_of_seeds() -> None:
    plain, more = (required_seeds(0.0127, 0.02, images_error=error) for error in (0.0, 0.005))
    assert plain is not None and more is not None and more > plain


def test_runs_that_do_not_differ_need_the_fewest_seeds() -> None:
    assert required_seeds(0.0, 0.01) == 2


@pytest.mark.parametrize(("sd", "difference"), [(0.1, 0.01), (0.05, 0.03), (0.2, 0.01)])
def test_images_are_those_of_the_paired_t_test(sd: float, difference: float) -> None:
    oracle = TTestPower().solve_power(difference / sd, alpha=0.05, power=0.8)
    assert required_images(sd, difference) == int(np.ceil(oracle))


def test_images_without_spread_and_with_too_much() -> None:
    assert required_images(0.0, 0.01) == 3
    assert required_images(5.0, 0.0001) is None


def test_images_for_an_interval_by_hand() -> None:
    """(1.959964 × 0.15 / 0.01)² = 864.33."""
    assert required_images_for_interval(0.15, 0.01) == 865
