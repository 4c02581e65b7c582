"""Two sets of weights on the same images: is the mean of the differences zero?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.evaluation.statistics.intervals import ConfidenceInterval, mean_interval
from harness.evaluation.statistics.variance_components import ROUNDING

Floats = NDArray[np.float64]

RESAMPLES = 9999
_BATCH_SIGNS = 2_000_000  # signs drawn at a time


@dataclass(frozen=True)
class PairedTest:
    """What a comparison image by image found.

    Attributes:
        difference: mean of a - b.
        interval: of that mean, BCa, 95 %; None below 50 images.
        p: two-sided, of "the mean of the differences is zero"; at least `smallest_p(n)`. It
            speaks of
            these two sets of weights, not of the configurations that they were trained with.
        n: images in which both values are finite.
        deviation: standard deviation over images of a - b, divided by n - 1; 0 for one image.
    """

    difference: float
    interval: ConfidenceInterval | None
    p: float
    n: int
    deviation: float = 0.0


def paired_test(a: Floats, b: Floats, seed: int = 0, *, shares: Floats | None = None) -> PairedTest:
    """Compare two sets of weights on the same images, by flipping the signs of the differences.

    The statistic is the mean, as the mean is what is reported; Wilcoxon's ranks would test
    another centre of skewed differences. If the two are exchangeable, each difference is as likely
    with the other sign, and the test is exact whatever its distribution.

    Args:
        a, b: shape (n,), one value per image, the images in the same order; an image in which one
            is not finite is left out.
        shares: shape (n,), what is flipped in place of a - b (`pseudo_values.difference_shares`).
        seed: of the 9,999 draws of signs (all of them are taken below 14 images).

    Raises:
        ValueError: a and b have different lengths.

    Source:
        Fisher 1935, "The design of experiments", section 21; scipy.stats.permutation_test.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a has {first.shape} values, b {second.shape}: they must be paired")
    is_finite = np.isfinite(first) & np.isfinite(second)
    first, second = first[is_finite], second[is_finite]
    n = len(first)
    if n == 0:
        return PairedTest(float("nan"), None, 1.0, 0)
    differences = first - second
    flip_values = differences if shares is None else np.asarray(shares, np.float64)[is_finite]
    tolerance = ROUNDING * max(np.abs(first).max(), np.abs(second).max())
    interval = mean_interval(differences, seed=seed)
    if max(np.abs(differences).max(), np.abs(flip_values).max()) <= tolerance:
        return PairedTest(0.0, interval, 1.0, n)
    # of one image both signs are as likely
    p = _sign_flip_p(flip_values, seed) if n > 1 else 1.0
    deviation = float(differences.std(ddof=1)) if n > 1 else 0.0
    return PairedTest(float(differences.mean()), interval, p, n, deviation)


def _sign_flip_p(differences: Floats, seed: int) -> float:
    result = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH_SIGNS // len(differences)),
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def smallest_p(n: int) -> float:
    """The smallest p that `paired_test` can give for n differences.

    All 2^n signs are taken up to 13 images: 2/2^n, as both of "all positive" and "all negative" are
    as extreme. Above that 9,999 are drawn: 2/10,000.
    """
    return min(1.0, 2 / 2**n) if 2**n <= RESAMPLES else 2 / (RESAMPLES + 1)


def holm_correction(p: Sequence[float]) -> list[float]:
    """The p-values of several tests, corrected so that any false finding has the stated rate.

    The smallest is multiplied by m, the next by m - 1, and so on; none becomes smaller than the one
    before it, none larger than 1. In the order in which they were given.

    Source:
        Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    corrected = [0.0] * len(p)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = largest
    return corrected
