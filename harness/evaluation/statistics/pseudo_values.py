"""One value per image whose mean is a metric that is not itself a mean over images.

Every metric is a mean over classes of ratios of sums over images, sum(above) / sum(below): of a
mean over the images that have the class `above` is each image's value and `below` is 1 where the
image counts; of pooled pixels both are counts of pixels.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

CONFIDENCE_LEVEL = 0.95  # at which the degrees of freedom are those of a class that few images have


def mean_of_ratios(above: Floats, below: Floats) -> float | None:
    """The mean over classes of sum(above) / sum(below).

    Args:
        above, below: shape (images, classes); below is 0 where an image does not count.

    Returns:
        A class whose `below` is 0 throughout stays out; None where all are.
    """
    sums = below.sum(axis=0)
    present = sums > 0
    return float((above.sum(axis=0)[present] / sums[present]).mean()) if present.any() else None


def pseudo_values(above: Floats, below: Floats) -> Floats:
    """One value for each image; their mean is `mean_of_ratios`, their spread gives its error.

    With r_k = A_k / B_k the ratio of class k of K and n images, the value of image i is

        m + c (1/K) Σ_k (n / B_k) g_k (above_ik - r_k below_ik),

    the linear part of the metric (infinitesimal jackknife). Of means that is
    m + (1/K) Σ_k (n/n_k) (s_ik - m_k) over the classes that the image has, and of one class that
    all images have the image's own value. The factors make small classes right: g_k divides
    the squares of a class by n_k - 1, where the variance over images divides all by n - 1, and c
    is t(f) / t(n - 1) at 95 %, with Satterthwaite's degrees of freedom f for classes of equal
    spread. A quarter of the degrees of a class that few images have is taken off, as Dice values
    are skewed (measured: docs/statistics.md). Both depend on `below` alone, so that in a
    difference of two networks what an image does to both still cancels.

    A class of a single image shows no spread. Its distance from the mean of the other classes
    stands for it, so that one image alone decides nothing.

    Args:
        above, below: as of `mean_of_ratios`. Each image counts for at least one class.

    Returns:
        Shape (images,); empty where there is none.

    Source:
        Efron & Tibshirani 1993, "An introduction to the bootstrap", section 21.3 (infinitesimal
        jackknife); Cochran 1977, "Sampling techniques", section 6.4 (ratio estimators);
        Satterthwaite 1946.
    """
    present = below.sum(axis=0) > 0
    above, below = above[:, present], below[:, present]
    n, n_classes = below.shape
    if not n_classes:
        return np.zeros(n)
    if n_classes == 1 and np.ptp(below) == 0:
        return np.asarray(above[:, 0] / below[:, 0])  # every digit as it was
    sums = below.sum(axis=0)
    ratios = above.sum(axis=0) / sums
    mean = float(ratios.mean())
    if n == 1:
        return np.array([mean])
    single = (below > 0).sum(axis=0) == 1
    # of means the number of images that have the class; fewer where some weigh more than others
    effective = np.maximum(sums**2 / (below**2).sum(axis=0), 2.0)
    gain = np.sqrt((n - 1) / n * effective / (effective - 1))
    parts = (above - ratios * below) * (n / sums) * gain
    if n_classes > 1 and single.any():
        others = (ratios.sum() - ratios) / (n_classes - 1)
        single_parts = (n / sums * below - 1) * (ratios - others)
        parts = np.where(single, single_parts, parts)
    return np.asarray(
        mean + _t_quantile_ratio(n, effective, single) * parts.sum(axis=1) / n_classes
    )


def difference_shares(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> Floats:
    """The share of each image in the difference of two networks; exchanging them turns its sign.

    With the ratio R_k = (A_k + A'_k) / (B_k + B'_k) of both together, image i has

        (1/K) Σ_k 2n / (B_k + B'_k) ((above_ik - above'_ik) - R_k (below_ik - below'_ik)).

    Of means that is (1/K) Σ_k (n/n_k) (s_ik - s'_ik), whose mean is the difference of the metrics;
    of pooled pixels the mean is nearly that. Where an image's numbers are exchanged between the
    networks, its share turns its sign and the others stay: flipping signs is an exact test.

    Args:
        first, second: `above` and `below` of the same images and classes, as of `mean_of_ratios`.

    Returns:
        Shape (images,).
    """
    above, below = first[0] + second[0], first[1] + second[1]
    present = below.sum(axis=0) > 0
    sums = below[:, present].sum(axis=0)
    ratios = above[:, present].sum(axis=0) / sums
    differences = (first[0] - second[0])[:, present] - ratios * (first[1] - second[1])[:, present]
    return np.asarray((differences * (2 * len(above) / sums)).sum(axis=1) / max(1, len(sums)))


def _t_quantile_ratio(n: int, effective: Floats, single: NDArray[np.bool_]) -> float:
    """t(f) / t(n - 1); 1 where every image counts alike for every class."""
    shares = 1 / np.where(single, 1.0, effective)
    freedoms = np.maximum((effective - 1) * (3 + effective / n) / 4, 1.0)
    freedom = min(n - 1.0, float(shares.sum() ** 2 / (shares**2 / freedoms).sum()))
    tail = (1 - CONFIDENCE_LEVEL) / 2
    wide, usual = stats.t.isf(tail, np.array([freedom, n - 1.0]))
    return float(wide / usual)
