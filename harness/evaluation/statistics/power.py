"""Power analysis: seeds or images needed to detect a difference of a given size."""

import math
from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import scipy  # scipy.stats is imported at its first use
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ONE_POINT = 0.01  # one percentage point of Dice
MAX_SEEDS = 1000
MAX_IMAGES = 1_000_000
_QUANTILES = (np.arange(40) + 0.5) / 40  # midpoint rule for the mean over the χ² distribution


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
    """Seeds per configuration to detect that the best one is better than all others.

    The smallest k with

        P(t' > t) ≥ 1 - (1 - power) / (n_configurations - 1),

    where t' is noncentral t with δ = difference / sqrt(2 sd²/k + images_error²) and t is the
    two-sided quantile, both with Satterthwaite's degrees of freedom. By Boole's inequality all
    comparisons together succeed with at least `power`. An estimated standard deviation may be too
    small: with `freedom`, P is averaged over sd² · freedom / χ², the plausible true variances.

    Args:
        sd_runs: standard deviation of a run's mean within a configuration.
        difference: true lead over each other configuration, above 0.
        power: probability of detecting it.
        level: significance level of the two-sided test.
        n_configurations: number of configurations that are compared.
        images_error: standard error that remains for any number of seeds.
        freedom: degrees of freedom of sd_runs; None: sd_runs is known exactly.

    Returns:
        At least 2; None if MAX_SEEDS do not suffice: then more images are needed.

    Source:
        Cohen 1988, "Statistical power analysis", chapter 2; O'Hagan, Stevens & Campbell 2005,
        "Assurance in clinical trial design" (mean over the plausible variances).
    """
    target_power = 1 - (1 - power) / max(1, n_configurations - 1)
    variances = np.array([sd_runs**2])
    if freedom is not None:
        # With few degrees of freedom this distribution has a long upper tail: a pilot of two or
        # three seeds may ask for many more seeds than its own standard deviation would.
        variances = variances * freedom / scipy.stats.chi2.ppf(_QUANTILES, freedom)

    def suffices(k: int) -> bool:
        runs_variance = 2 * variances / k
        variance = runs_variance + images_error**2
        if not variance.min() > 0:
            return True
        # Satterthwaite: the images' term is omitted, as its freedom n - 1 is large. The floor keeps
        # the degrees of freedom finite where the runs' variance is negligible.
        denominator = np.maximum(runs_variance**2 / (2 * (k - 1)), 1e-6 * variance**2)
        return bool(
            _mean_power(difference / variance**0.5, variance**2 / denominator, level)
            >= target_power
        )

    # One seed has no degrees of freedom, so 2 is the least.
    return _smallest_sufficient(suffices, 2, MAX_SEEDS)


def required_images(
    sd_differences: float,
    difference: float = ONE_POINT,
    *,
    power: float = 0.8,
    level: float = 0.05,
) -> int | None:
    """Images for a paired comparison of two sets of weights to detect a true difference.

    The smallest n with P(t' > t) ≥ power, where t' is noncentral t with n - 1 degrees of freedom
    and δ = √n · difference / sd_differences. The permutation test of `paired_test` has nearly the
    same power.

    Args:
        sd_differences: standard deviation of the difference over images.
        difference: true mean of the difference, above 0.

    Returns:
        At least 3; None above a million.

    Source:
        Cohen 1988, "Statistical power analysis", chapter 2.
    """
    # Without any spread one image would decide; the least number that is ever returned is 3.
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
    """Images for an interval of one mean with this half width: (z · sd / half_width)², rounded up.

    The normal approximation, with z = Φ⁻¹((1 + level) / 2).
    """
    z = float(scipy.stats.norm.isf((1 - level) / 2))
    return max(2, math.ceil((z * sd_values / half_width) ** 2))


def _smallest_sufficient(suffices: Callable[[int], bool], low: int, high: int) -> int | None:
    """The smallest sufficient number from `low` to `high`; None if `high` does not suffice."""
    if not suffices(high):
        return None
    # Power grows with the number, so bisection is valid: 20 evaluations of the
    # noncentral t, which is slow, cover a million.
    return low + bisect_left(range(low, high), True, key=suffices)


def _mean_power(shift: Floats, freedom: Floats, level: float) -> float:
    """Mean probability that a noncentral t exceeds the two-sided quantile.

    The lower tail is left out, as a significant difference of the wrong sign detects nothing.
    """
    # Above a shift of 30 scipy's noncentral t returns nan; the power is 1 there from two degrees
    # of freedom on.
    quantile = scipy.stats.t.isf(level / 2, freedom)
    return float(np.mean(scipy.stats.nct.sf(quantile, freedom, np.minimum(shift, 30.0))))
