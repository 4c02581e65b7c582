"""Means over runs and images, with the error that both kinds of chance give them.

With seeds, configuration c, run s and image i:  y = μ_c + a_i + b_ci + S_cs + e_csi.  The image
effect a cancels in differences; that of an image on one configuration (b), of the seed (S), and
what is left (e) do not. With folds the images belong to the run, and what is compared is the
difference within each fold.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
RunValues = tuple[Floats, ...]  # of one configuration: the values of the images of each run


@dataclass(frozen=True)
class MeanEstimate:
    """A mean, or a difference of two.

    Attributes:
        value: the plain mean over runs of means over images, or the difference of two such.
        error: its standard error; infinite where there are too few runs to tell.
        freedom: degrees of freedom of the error, at least 1.
        images_error: the part of the error that more seeds would not remove; 0 with folds.
    """

    value: float
    error: float
    freedom: float
    images_error: float = 0.0

    @property
    def t(self) -> float:
        """Student's t of "it is zero", not negative."""
        if self.error == 0:
            return math.inf if self.value else 0.0
        return abs(self.value) / self.error

    @property
    def p(self) -> float:
        """Two-sided."""
        return float(2 * stats.t.sf(self.t, self.freedom))


@dataclass(frozen=True)
class PooledVariance:
    """The variance of run means within configurations, over all of them."""

    variance: float
    freedom: int


def pool_variance(configurations: Iterable[RunValues]) -> PooledVariance | None:
    """Σ(k_c - 1) s_c² / Σ(k_c - 1) of these configurations; None if none has two runs."""
    means = [np.array([run.mean() for run in runs]) for runs in configurations]
    freedom = sum(len(run_means) - 1 for run_means in means)
    squares = sum(float(((run_means - run_means.mean()) ** 2).sum()) for run_means in means)
    return PooledVariance(squares / freedom, freedom) if freedom else None


def estimate_mean(
    plus: RunValues,
    minus: RunValues = (),
    *,
    folds: bool,
    pooled_variance: PooledVariance | None = None,
) -> MeanEstimate:
    """The mean of `plus`, less that of `minus` where it is given.

    Args:
        plus: one array per run. With seeds, each has the same images in the same order.
        minus: likewise, of the other configuration; with folds, the same folds in the same order.
        folds: whether the images differ between runs.
        pooled_variance: with seeds, the spread of runs in all configurations: the error is at
            least what it gives, as two or three runs may lie close to each other by chance.
    """
    sides = [(1.0, plus)] + ([(-1.0, minus)] if minus else [])
    return _estimate_over_folds(sides) if folds else _estimate_over_seeds(sides, pooled_variance)


Sides = Sequence[tuple[float, RunValues]]
VarianceComponent = tuple[float, int]  # a variance, with its degrees of freedom


def _estimate_over_seeds(sides: Sides, pooled_variance: PooledVariance | None) -> MeanEstimate:
    """Seeds within configurations, crossed with images: both random.

    Var = Σ_c s_c²/k_c + max(0, var_i(D_i)/n - Σ_c MSE_c/(n k_c)), the first sum at least
    s²(others) Σ_c 1/k_c, where s_c² is the variance of the
    k_c run means, D_i the (difference of the) means over runs of image i, and MSE_c the mean square
    of what rows and columns leave; the last term is in both others and counts once. Degrees of
    freedom by Satterthwaite.

    Source:
        Clark 1973, "The language-as-fixed-effect fallacy" (quasi-F); Satterthwaite 1946.
    """
    tables = [(sign, np.column_stack(runs)) for sign, runs in sides]
    value = _sum_terms([sign * float(table.mean()) for sign, table in tables])
    if min(table.shape[1] for _, table in tables) < 2:
        return MeanEstimate(value, math.inf, 1.0)
    n = len(tables[0][1])
    components: list[VarianceComponent] = []
    residuals: list[VarianceComponent] = []
    for _, table in tables:
        k = table.shape[1]
        components.append((float(table.mean(axis=0).var(ddof=1)) / k, k - 1))
        residuals.append((_residual_mean_square(table) / (n * k), (n - 1) * (k - 1)))
    image_means = sum(sign * table.mean(axis=1) for sign, table in tables)
    spread = float(np.var(image_means, ddof=1)) / n if n > 1 else 0.0
    images_variance = spread - sum(variance for variance, _ in residuals)
    if pooled_variance is not None:
        components = _larger_components(
            components, pooled_variance, sum(1 / table.shape[1] for _, table in tables)
        )
    if images_variance > 0:
        components += [(spread, n - 1), *((-variance, freedom) for variance, freedom in residuals)]
    variance = math.fsum(term for term, _ in components)
    return MeanEstimate(
        value,
        math.sqrt(variance),
        _satterthwaite_freedom(variance, components),
        math.sqrt(max(images_variance, 0.0)),
    )


def _larger_components(
    components: list[VarianceComponent], pooled_variance: PooledVariance, share: float
) -> list[VarianceComponent]:
    """The parts of the runs; those of all configurations where these are more."""
    # of two with as many runs each both are the same number, and rounding must not choose
    if pooled_variance.variance * share > 1.000001 * math.fsum(
        variance for variance, _ in components
    ):
        return [(pooled_variance.variance * share, pooled_variance.freedom)]
    return components


def _residual_mean_square(table: Floats) -> float:
    """The mean square of (images, runs) without the means of its rows and columns."""
    n, k = table.shape
    if n < 2:
        return 0.0
    residuals = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return float((residuals**2).sum() / ((n - 1) * (k - 1)))


def _satterthwaite_freedom(variance: float, components: Sequence[VarianceComponent]) -> float:
    denominator = math.fsum(term * term / freedom for term, freedom in components if freedom > 0)
    return max(1.0, variance * variance / denominator) if denominator > 0 else 1.0


def _estimate_over_folds(sides: Sides) -> MeanEstimate:
    """The mean over k folds of d_f, with variance s² (1/k + 1/(k - 1)) and k - 1 degrees.

    1/(k - 1) is the ratio of held-out to training images: trained on overlapping images, the folds
    are no independent repetitions, and s²/k alone would be too small.

    Source:
        Nadeau & Bengio 2003, "Inference for the generalization error", the corrected t-test.
    """
    means = [sign * np.array([run.mean() for run in runs]) for sign, runs in sides]
    fold_differences = np.sum(means, axis=0)
    k = len(fold_differences)
    value = _sum_terms([float(fold_means.mean()) for fold_means in means])
    if k < 2:
        return MeanEstimate(value, math.inf, 1.0)
    variance = float(fold_differences.var(ddof=1)) * (1 / k + 1 / (k - 1))
    return MeanEstimate(value, math.sqrt(variance), float(k - 1))


def _sum_terms(terms: Sequence[float]) -> float:
    """The sum; 0 where it is what rounding leaves of a difference of equal means."""
    value = math.fsum(terms)
    return 0.0 if abs(value) <= ROUNDING * max(map(abs, terms)) else value


ROUNDING = 1e-12  # of the largest value: what sums of equal values may differ by
