"""Paired permutation tests of two sets of weights on the same images, and Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # scipy.stats is imported at its first use
from numpy.typing import NDArray

from harness.evaluation.statistics.intervals import ConfidenceInterval, mean_interval
from harness.evaluation.statistics.variance_components import ROUNDING

Floats = NDArray[np.float64]

# scipy enumerates all signs if there are at most this many: 2^13 = 8,192 fit, 2^14 do not.
RESAMPLES = 9999  # with the observed order 10,000, so that p has round steps
_BATCH_SIGNS = 2_000_000  # signs drawn at a time


@dataclass(frozen=True)
class PairedTest:
    """Result of a paired comparison over images.

    Attributes:
        difference: mean of a - b.
        interval: 95 % BCa interval of that mean; None below 50 images.
        p: two-sided p-value of "the mean of the differences is zero", at least `smallest_p(n)`.
            It holds for these two sets of weights, not for the configurations that trained them.
        n: number of images in which both values are finite.
        deviation: standard deviation of a - b over images, divided by n - 1; 0 for one image.
    """

    difference: float
    interval: ConfidenceInterval | None
    p: float
    n: int
    deviation: float = 0.0


def paired_test(a: Floats, b: Floats, seed: int = 0, *, shares: Floats | None = None) -> PairedTest:
    """Compare two sets of weights on the same images by a sign-flip permutation test.

    Statistic: the mean of the differences d_i. p = 2 min(P(mean(±d) ≥ mean(d)),
    P(mean(±d) ≤ mean(d))) over random signs. If the two networks are exchangeable, each difference
    is equally likely with the other sign, so the test is exact for any distribution. The mean is
    tested because the mean is reported; Wilcoxon's test compares another centre of skewed
    differences.

    Args:
        a, b: shape (n,), one value per image in the same order of images; an image in which one
            of them is not finite is left out.
        shares: shape (n,), values that are flipped in place of a - b
            (`pseudo_values.difference_shares`).
        seed: seed of the 9,999 draws of signs; up to 13 images all signs are enumerated instead.

    Raises:
        ValueError: a and b have different lengths.

    Source:
        Fisher 1935, "The design of experiments", section 21; scipy.stats.permutation_test.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a has shape {first.shape}, b {second.shape}; paired values must match")
    is_finite = np.isfinite(first) & np.isfinite(second)
    first, second = first[is_finite], second[is_finite]
    n = len(first)
    if n == 0:
        return PairedTest(float("nan"), None, 1.0, 0)
    differences = first - second
    flip_values = differences if shares is None else np.asarray(shares, np.float64)[is_finite]
    # Without the tolerance, equal networks would be compared by the signs of their rounding errors.
    tolerance = ROUNDING * max(np.abs(first).max(), np.abs(second).max())
    interval = mean_interval(differences, seed=seed)
    if max(np.abs(differences).max(), np.abs(flip_values).max()) <= tolerance:
        return PairedTest(0.0, interval, 1.0, n)
    # With one image both signs are equally likely, so p is 1.
    p = _sign_flip_p(flip_values, seed) if n > 1 else 1.0
    deviation = float(differences.std(ddof=1)) if n > 1 else 0.0
    return PairedTest(float(differences.mean()), interval, p, n, deviation)


def _sign_flip_p(differences: Floats, seed: int) -> float:
    # With a single sample, scipy's "samples" flips the sign of each observation ("pairings" would
    # only reorder them, and the mean would never change). For random draws it adds 1 to both parts
    # of the fraction, so p is never 0 (Phipson & Smyth 2010).
    result = scipy.stats.permutation_test(
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
    """Smallest p-value that `paired_test` can give for n differences.

    2/2^n up to 13 images, where all signs are enumerated: "all positive" and "all negative" are
    equally extreme. Above that 2/10,000: 9,999 draws and the observed signs.
    """
    return min(1.0, 2 / 2**n) if 2**n <= RESAMPLES else 2 / (RESAMPLES + 1)


def holm_correction(p: Sequence[float]) -> list[float]:
    """Holm's corrected p-values, which control the probability of any false finding.

    With p sorted ascending, p_(1) ≤ … ≤ p_(m), the corrected value of rank j is
    max over i ≤ j of min(1, (m - i + 1) p_(i)). Returned in the order of the input.

    Source:
        Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    corrected = [0.0] * len(p)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        # The running maximum keeps corrected values in the
        # order of p: (m - i + 1) p_(i) may fall with i.
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = largest
    return corrected
