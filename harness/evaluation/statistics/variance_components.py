"""Means over runs and images, with standard errors that treat both runs and images as random.

With seeds, the value of configuration c, run s and image i is  y = μ_c + a_i + b_ci + S_cs + e_csi.
In a difference of configurations the image effect a cancels; the effects of an image on one
configuration (b) and of the seed (S), and the residual (e), do not. With folds each run has its own
images, and the comparison uses the differences within folds.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # scipy.stats is imported at its first use
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RunValues = tuple[Floats, ...]  # one configuration: for each run the values of its images


@dataclass(frozen=True)
class MeanEstimate:
    """A mean or a difference of two means, with its standard error.

    Attributes:
        value: mean over runs of the means over images, or the difference of two such means.
        error: standard error of the value; infinite if there are too few runs to estimate it.
        freedom: degrees of freedom of the error, at least 1.
        images_error: part of the error that more seeds would not reduce; 0 with folds.
    """

    value: float
    error: float
    freedom: float
    images_error: float = 0.0

    @property
    def t(self) -> float:
        """Student's t of the hypothesis "the value is zero": |value| / error."""
        # All runs and images agree: any difference is certain, and 0/0 means that there is none.
        if self.error == 0:
            return math.inf if self.value else 0.0
        return abs(self.value) / self.error

    @property
    def p(self) -> float:
        """Two-sided p-value of that hypothesis."""
        return float(2 * scipy.stats.t.sf(self.t, self.freedom))


@dataclass(frozen=True)
class PooledVariance:
    """Variance of run means within configurations, pooled over all configurations."""

    variance: float
    freedom: int


def pool_variance(configurations: Iterable[RunValues]) -> PooledVariance | None:
    """Σ(k_c - 1) s_c² / Σ(k_c - 1) over configurations; None if every k_c is 1.

    s_c² is the variance of the k_c run means of configuration c, divided by k_c - 1.
    """
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
    """Mean of `plus`, minus the mean of `minus` if that is given, with its standard error.

    Args:
        plus: one array per run. With seeds, each has the same images in the same order.
        minus: the same for the other configuration; with folds, the same folds in the same order.
        folds: True if the images differ between runs.
        pooled_variance: with seeds, the variance of runs over all configurations: a lower bound of
            the error, as two or three runs may lie close together by chance.
    """
    sides = [(1.0, plus)] + ([(-1.0, minus)] if minus else [])
    return _estimate_over_folds(sides) if folds else _estimate_over_seeds(sides, pooled_variance)


Sides = Sequence[tuple[float, RunValues]]
VarianceComponent = tuple[float, int]  # a variance, with its degrees of freedom


def _estimate_over_seeds(sides: Sides, pooled_variance: PooledVariance | None) -> MeanEstimate:
    """Error for seeds nested in configurations and crossed with images, both random.

        Var = max(Σ_c s_c²/k_c, s²_pooled Σ_c 1/k_c) + max(0, var_i(D_i)/n - Σ_c MSE_c/(n k_c))

    s_c² is the variance of the k_c run means, D_i the mean over runs of image i (or the difference
    of two such means), n the number of images and MSE_c the mean square of the residuals after row
    and column means. MSE_c is contained in both other terms, so it is subtracted once. Degrees of
    freedom are Satterthwaite's. The pooled lower bound is our own addition (docs/statistics.md).

    Source:
        Clark 1973, "The language-as-fixed-effect fallacy" (quasi-F); Satterthwaite 1946.
    """
    tables = [(sign, np.column_stack(runs)) for sign, runs in sides]
    value = _sum_terms([sign * float(table.mean()) for sign, table in tables])
    # One run shows no variance between runs. An infinite error gives t = 0 and p = 1: no verdict.
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
    # An estimated variance component may be negative by chance. Then it counts
    # as 0 and adds no degrees of freedom either.
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
    """Variance components of the runs, replaced by the pooled one if that is larger."""
    # With two configurations of equally many runs both are the same number up to rounding; without
    # the factor, rounding errors would decide which degrees of freedom are used.
    if pooled_variance.variance * share > 1.000001 * math.fsum(
        variance for variance, _ in components
    ):
        return [(pooled_variance.variance * share, pooled_variance.freedom)]
    return components


def _residual_mean_square(table: Floats) -> float:
    """Mean square of the residuals of a table (images, runs) after its row and column means."""
    n, k = table.shape
    if n < 2:
        return 0.0
    residuals = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return float((residuals**2).sum() / ((n - 1) * (k - 1)))


def _satterthwaite_freedom(variance: float, components: Sequence[VarianceComponent]) -> float:
    """Degrees of freedom Var² / Σ v_j² / f_j of a sum of variance components, at least 1."""
    # A subtracted component enters squared, as an added one: it makes the sum less certain, not
    # more. A residual of one image has 0 degrees of freedom.
    denominator = math.fsum(term * term / freedom for term, freedom in components if freedom > 0)
    return max(1.0, variance * variance / denominator) if denominator > 0 else 1.0


def _estimate_over_folds(sides: Sides) -> MeanEstimate:
    """Mean over k folds of the fold differences d_f, with the corrected variance.

        Var = s² (1/k + 1/(k - 1)),  k - 1 degrees of freedom,

    where s² is the variance of the d_f. 1/(k - 1) is the ratio of validation to training images:
    the folds' training images overlap, so the folds are not independent repetitions and s²/k alone
    would be too small.

    Source:
        Nadeau & Bengio 2003, "Inference for the generalization error", the corrected t-test.
    """
    means = [sign * np.array([run.mean() for run in runs]) for sign, runs in sides]
    # Subtracted fold by fold, before the variance: the difficulty of a fold's images then cancels.
    fold_differences = np.sum(means, axis=0)
    k = len(fold_differences)
    value = _sum_terms([float(fold_means.mean()) for fold_means in means])
    if k < 2:
        return MeanEstimate(value, math.inf, 1.0)
    variance = float(fold_differences.var(ddof=1)) * (1 / k + 1 / (k - 1))
    return MeanEstimate(value, math.sqrt(variance), float(k - 1))


def _sum_terms(terms: Sequence[float]) -> float:
    """Sum of the terms; 0 if only rounding errors are left of a difference of equal means."""
    value = math.fsum(terms)
    return 0.0 if abs(value) <= ROUNDING * max(map(abs, terms)) else value


ROUNDING = 1e-12  # of the largest value: what sums of equal values may differ by
