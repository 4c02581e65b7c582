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

from harness.evaluation.intervals import ROUNDING

Floats = NDArray[np.float64]
Runs = tuple[Floats, ...]  # of one configuration: the values of the images of each run


@dataclass(frozen=True)
class Estimate:
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
class Pooled:
    """The variance of run means within configurations, over all of them."""

    variance: float
    freedom: int


def pooled(each: Iterable[Runs]) -> Pooled | None:
    """Σ(k_c - 1) s_c² / Σ(k_c - 1) of these configurations; None if none has two runs."""
    means = [np.array([run.mean() for run in runs]) for runs in each]
    freedom = sum(len(of_one) - 1 for of_one in means)
    squares = sum(float(((of_one - of_one.mean()) ** 2).sum()) for of_one in means)
    return Pooled(squares / freedom, freedom) if freedom else None


def estimate(
    plus: Runs, minus: Runs = (), *, folds: bool, others: Pooled | None = None
) -> Estimate:
    """The mean of `plus`, less that of `minus` where it is given.

    Args:
        plus: one array per run. With seeds, each has the same images in the same order.
        minus: likewise, of the other configuration; with folds, the same folds in the same order.
        folds: whether the images differ between runs.
        others: with seeds, the spread of runs in all configurations: the error is at least what it
            gives, as two or three runs may lie close to each other by chance.
    """
    sides = [(1.0, plus)] + ([(-1.0, minus)] if minus else [])
    return _over_folds(sides) if folds else _over_seeds(sides, others)


Sides = Sequence[tuple[float, Runs]]
Part = tuple[float, int]  # a variance, with its degrees of freedom


def _over_seeds(sides: Sides, others: Pooled | None) -> Estimate:
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
    value = _value([sign * float(table.mean()) for sign, table in tables])
    if min(table.shape[1] for _, table in tables) < 2:
        return Estimate(value, math.inf, 1.0)
    n = len(tables[0][1])
    parts: list[Part] = []
    rests: list[Part] = []
    for _, table in tables:
        k = table.shape[1]
        parts.append((float(table.mean(axis=0).var(ddof=1)) / k, k - 1))
        rests.append((_left_over(table) / (n * k), (n - 1) * (k - 1)))
    images = sum(sign * table.mean(axis=1) for sign, table in tables)
    spread = float(np.var(images, ddof=1)) / n if n > 1 else 0.0
    more = spread - sum(variance for variance, _ in rests)
    if others is not None:
        parts = _at_least(parts, others, sum(1 / table.shape[1] for _, table in tables))
    if more > 0:
        parts += [(spread, n - 1), *((-variance, freedom) for variance, freedom in rests)]
    variance = math.fsum(part for part, _ in parts)
    return Estimate(
        value, math.sqrt(variance), _freedom(variance, parts), math.sqrt(max(more, 0.0))
    )


def _at_least(parts: list[Part], others: Pooled, share: float) -> list[Part]:
    """The parts of the runs; those of all configurations where these are more."""
    # of two with as many runs each both are the same number, and rounding must not choose
    if others.variance * share > 1.000001 * math.fsum(variance for variance, _ in parts):
        return [(others.variance * share, others.freedom)]
    return parts


def _left_over(table: Floats) -> float:
    """The mean square of (images, runs) without the means of its rows and columns."""
    n, k = table.shape
    if n < 2:
        return 0.0
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return float((rest**2).sum() / ((n - 1) * (k - 1)))


def _freedom(variance: float, parts: Sequence[Part]) -> float:
    below = math.fsum(part * part / freedom for part, freedom in parts if freedom > 0)
    return max(1.0, variance * variance / below) if below > 0 else 1.0


def _over_folds(sides: Sides) -> Estimate:
    """The mean over k folds of d_f, with variance s² (1/k + 1/(k - 1)) and k - 1 degrees.

    1/(k - 1) is the ratio of held-out to training images: trained on overlapping images, the folds
    are no independent repetitions, and s²/k alone would be too small.

    Source:
        Nadeau & Bengio 2003, "Inference for the generalization error", the corrected t-test.
    """
    means = [sign * np.array([run.mean() for run in runs]) for sign, runs in sides]
    each = np.sum(means, axis=0)
    k = len(each)
    value = _value([float(of_one.mean()) for of_one in means])
    if k < 2:
        return Estimate(value, math.inf, 1.0)
    variance = float(each.var(ddof=1)) * (1 / k + 1 / (k - 1))
    return Estimate(value, math.sqrt(variance), float(k - 1))


def _value(terms: Sequence[float]) -> float:
    """The sum; 0 where it is what rounding leaves of a difference of equal means."""
    value = math.fsum(terms)
    return 0.0 if abs(value) <= ROUNDING * max(map(abs, terms)) else value
