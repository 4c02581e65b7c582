"""How many images or seeds a difference would need before a test can be expected to find it."""

import math
from bisect import bisect_left
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

ONE_POINT = 0.01
MAX_SEEDS = 1000
MAX_IMAGES = 1_000_000
_QUANTILES = (np.arange(40) + 0.5) / 40


def required_seeds(
    sd_runs: float,
    difference: float = ONE_POINT,
    *,
    power: float = 0.8,
    level: float = 0.05,
    n_configurations: int = 2,
    images_error: float = 0.0,
    freedom: int | None = None,
) -> int | None:
    """Seeds for each configuration so that the better one is found better than all others.

    The smallest k with P(t' > t) ≥ 1 - (1 - power) / (n_configurations - 1), where t' is
    noncentral with δ = difference / sqrt(2 sd²/k + images_error²), and t is the two-sided quantile,
    both with Satterthwaite's degrees of freedom. By Boole's inequality all comparisons together
    succeed with at least `power`. A standard deviation that is itself an estimate may be too small:
    with `freedom`, P is the mean over what it may be, sd² · freedom / χ².

    Args:
        sd_runs: standard deviation of a run's mean within a configuration.
        difference: true lead over each other configuration, above 0.
        power: the chance to find it.
        level: of the two-sided test.
        n_configurations: how many are compared.
        images_error: the standard error that stays however many seeds there are.
        freedom: degrees of freedom of sd_runs; None: it is known.

    Returns:
        At least 2; None where MOST_SEEDS would not do: then more images are needed.

    Source:
        Cohen 1988, "Statistical power analysis", chapter 2; O'Hagan, Stevens & Campbell 2005,
        "Assurance in clinical trial design" (the mean over what the deviation may be).
    """
    target_power = 1 - (1 - power) / max(1, n_configurations - 1)
    variances = np.array([sd_runs**2])
    if freedom is not None:
        variances = variances * freedom / stats.chi2.ppf(_QUANTILES, freedom)

    def suffices(k: int) -> bool:
        runs_variance = 2 * variances / k
        variance = runs_variance + images_error**2
        if not variance.min() > 0:
            return True
        # the images' own part has so many degrees of freedom that it adds nothing below
        denominator = np.maximum(runs_variance**2 / (2 * (k - 1)), 1e-6 * variance**2)
        return bool(
            _mean_power(difference / variance**0.5, variance**2 / denominator, level)
            >= target_power
        )

    return _smallest_sufficient(suffices, 2, MAX_SEEDS)


def required_images(
    sd_differences: float,
    difference: float = ONE_POINT,
    *,
    power: float = 0.8,
    level: float = 0.05,
) -> int | None:
    """Images so that a paired comparison of two sets of weights finds a true difference.

    The smallest n for which the paired t-test has that power; the permutation test of
    `paired_test` has nearly the same.

    Args:
        sd_differences: standard deviation over images of the difference.
        difference: true mean of it, above 0.

    Returns:
        At least 3; None above a million.
    """
    if not sd_differences > 0:
        return 3
    effect = difference / sd_differences
    return _smallest_sufficient(
        lambda n: _mean_power(np.array([effect * n**0.5]), np.array([n - 1.0]), level) >= power,
        3,
        MAX_IMAGES,
    )


def required_images_for_interval(
    sd_values: float, half_width: float = ONE_POINT, *, level: float = 0.95
) -> int:
    """Images so that the interval of one mean reaches no farther than `half_width` to each side.

    (z · sd / half_width)², rounded up; the normal approximation.
    """
    z = float(stats.norm.isf((1 - level) / 2))
    return max(2, math.ceil((z * sd_values / half_width) ** 2))


def _smallest_sufficient(suffices: Callable[[int], bool], low: int, high: int) -> int | None:
    """The least number from `low` to `high` that is enough; None if not even `high` is."""
    if not suffices(high):
        return None
    return low + bisect_left(range(low, high), True, key=suffices)


def _mean_power(shift: Floats, freedom: Floats, level: float) -> float:
    """The mean chance that t exceeds its two-sided quantile when its mean is shifted upwards.

    The other tail is left out: a finding of the wrong sign is none. Beyond a shift of 30 scipy's
    noncentral t gives nan, and at two degrees of freedom or more the chance is 1.
    """
    quantile = stats.t.isf(level / 2, freedom)
    return float(np.mean(stats.nct.sf(quantile, freedom, np.minimum(shift, 30.0))))
