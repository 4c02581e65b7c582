"""Pseudo-values: one value per image whose mean is a metric that is not a mean over images.

Every metric is a mean over classes of ratios of sums over images, sum(above) / sum(below). For a
mean over the images that have the class, `above` is the image's value and `below` is 1 for each
image that counts; for pooled pixels both are pixel counts.
"""

import numpy as np
import scipy  # scipy.stats is imported at its first use
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE_LEVEL = 0.95  # the level at which the correction for rare classes is exact


def mean_of_ratios(above: Floats, below: Floats) -> float | None:
    """Mean over classes of sum(above) / sum(below).

    Args:
        above, below: shape (images, classes); below is 0 where an image does not count.

    Returns:
        Classes whose `below` sums to 0 are left out; None if all classes are.
    """
    sums = below.sum(axis=0)
    present = sums > 0
    return float((above.sum(axis=0)[present] / sums[present]).mean()) if present.any() else None


def pseudo_values(above: Floats, below: Floats) -> Floats:
    """One value per image: their mean is `mean_of_ratios`, their spread gives its error.

    For n images and K classes, let A_k and B_k be the sums of above and below over images,
    r_k = A_k / B_k the ratio of class k and m the mean of the r_k. The value of image i is

        m + c (1/K) Σ_k (n / B_k) g_k (above_ik - r_k below_ik),

    the linear part of the metric (infinitesimal jackknife). For means over images this is
    m + (1/K) Σ_k (n/n_k) (s_ik - m_k) over the classes of the image; for one class that all images
    have it is the image's own value. Two factors correct the spread of rare classes:

        g_k² = (n - 1)/n · n_k/(n_k - 1)  divides the squares of a class by n_k - 1, where the
            variance over images divides all of them by n - 1;
        c = t(f) / t(n - 1)  at 95 %, with f = (Σ 1/n_k)² / Σ (1/n_k²)/f_k (Satterthwaite, equal
            spread of classes) and f_k = (n_k - 1)(3 + n_k/n)/4.

    The last factor takes up to a quarter off the degrees of freedom of a rare class, as Dice
    values are skewed (an empirical choice, simulated in docs/statistics.md). Both factors depend on
    `below` alone, so in a difference of two networks the effect of an image on both still cancels.
    A class with a single image shows no spread; its distance from the mean of the other classes is
    used instead, so that one image alone decides nothing.

    Args:
        above, below: as for `mean_of_ratios`. Each image counts for at least one class.

    Returns:
        Shape (images,); empty if there are no images.

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
        # The general formula gives the same up to rounding; this keeps every digit of scores.csv.
        return np.asarray(above[:, 0] / below[:, 0])
    sums = below.sum(axis=0)
    ratios = above.sum(axis=0) / sums
    mean = float(ratios.mean())
    # Student's t with n - 1 = 0 degrees of freedom does not exist.
    if n == 1:
        return np.array([mean])
    single = (below > 0).sum(axis=0) == 1
    # n_k: the number of images of a class; Kish's effective number if images weigh unequally
    effective = np.maximum(sums**2 / (below**2).sum(axis=0), 2.0)
    gain = np.sqrt((n - 1) / n * effective / (effective - 1))
    parts = (above - ratios * below) * (n / sums) * gain
    if n_classes > 1 and single.any():
        # Minus 1, so that these parts sum to 0 over images
        # like all others: the mean must remain exact.
        others = (ratios.sum() - ratios) / (n_classes - 1)
        single_parts = (n / sums * below - 1) * (ratios - others)
        parts = np.where(single, single_parts, parts)
    return np.asarray(
        mean + _t_quantile_ratio(n, effective, single) * parts.sum(axis=1) / n_classes
    )


def difference_shares(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> Floats:
    """Share of each image in the difference of two networks; swapping the two flips its sign.

    With the ratio R_k = (A_k + A'_k) / (B_k + B'_k) of both networks together, image i has

        (1/K) Σ_k 2n / (B_k + B'_k) ((above_ik - above'_ik) - R_k (below_ik - below'_ik)).

    For means over images this is (1/K) Σ_k (n/n_k) (s_ik - s'_ik), whose mean is the difference of
    the metrics; for pooled pixels the mean is close to it. Swapping one image's numbers between the
    networks flips the sign of its share and leaves the other shares unchanged, which makes the
    sign-flip test exact; the `pseudo_values` of the networks do not have this property.

    Args:
        first, second: `above` and `below` of the same images and classes, as for `mean_of_ratios`.

    Returns:
        Shape (images,).
    """
    above, below = first[0] + second[0], first[1] + second[1]
    present = below.sum(axis=0) > 0
    sums = below[:, present].sum(axis=0)
    # R_k is symmetric in the two networks, so exchanging one image leaves it as it is: this makes
    # the shares of the other images independent of the flip.
    ratios = above[:, present].sum(axis=0) / sums
    differences = (first[0] - second[0])[:, present] - ratios * (first[1] - second[1])[:, present]
    return np.asarray((differences * (2 * len(above) / sums)).sum(axis=1) / max(1, len(sums)))


def _t_quantile_ratio(n: int, effective: Floats, single: NDArray[np.bool_]) -> float:
    """t(f) / t(n - 1), the factor c; 1 if every image counts equally for every class."""
    # `effective` is raised to 2 for a class in a single
    # image; for its weight it counts as one image.
    shares = 1 / np.where(single, 1.0, effective)
    # With two images f_k would be 0.75 + 1/(2n); the degrees of freedom
    # are at least 1, as in `variance_components`.
    freedoms = np.maximum((effective - 1) * (3 + effective / n) / 4, 1.0)
    freedom = min(n - 1.0, float(shares.sum() ** 2 / (shares**2 / freedoms).sum()))
    tail = (1 - CONFIDENCE_LEVEL) / 2
    wide, usual = scipy.stats.t.isf(tail, np.array([freedom, n - 1.0]))
    return float(wide / usual)
