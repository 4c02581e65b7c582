"""Permutation test for parameters: find those that explain the trials' order better than chance.

Every importance measure gives each parameter a share: with 40 trials in which nothing matters, one
of three parameters still gets most of it. So a parameter is named only if it passes this test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from harness.core.records import TrialRecord
from harness.report.analysis.effects import model_columns

Floats = NDArray[np.float64]

LEVEL = 0.02  # share of studies without any effect in which a parameter is named
N_SHUFFLES = 1000  # the 2 % quantile then rests on 20 shuffles
SEED = 0


@dataclass(frozen=True)
class DecisiveParameter:
    """A significant parameter.

    Attributes:
        explained: share of the variance of the trials' ranks that its values explain, in [0, 1],
            after the parameters selected before it.
        shuffled: the share that shuffled values exceed in LEVEL of all shuffles, where each
            shuffle counts the best of all remaining parameters.
    """

    key: str
    explained: float
    shuffled: float


@dataclass(frozen=True)
class PermutationTestResult:
    """Result of the forward selection.

    Attributes:
        parameters: the significant parameters, in order of selection.
        shuffled: share of the variance that shuffled values of a remaining parameter reach; None
            if no testable parameter remained.
    """

    parameters: tuple[DecisiveParameter, ...]
    shuffled: float | None


@dataclass(frozen=True, eq=False)
class ParameterColumns:
    """One parameter: the trials that have it, and its columns of the model for all trials."""

    key: str
    is_active: NDArray[np.bool_]
    columns: Floats


@dataclass(frozen=True, eq=False)
class FStatistics:
    """F statistics: of the observed order first, then of each shuffled order."""

    f: Floats
    freedom: tuple[int, int]

    def explained_share(self, f: float) -> float:
        """Share of the variance for an F statistic: R² = f d1 / (f d1 + d2)."""
        return f * self.freedom[0] / (f * self.freedom[0] + self.freedom[1])


def find_decisive_parameters(
    ranked: Sequence[TrialRecord], keys: Sequence[str], level: float = LEVEL
) -> PermutationTestResult:
    """Parameters that the order of the trials depends on, in order of selection.

    Forward selection on the ranks of the trials. For each remaining parameter the F statistic

        F = (RSS_0 - RSS_1) / d1 / (RSS_1 / d2)

    compares the model of the selected parameters (residual sum of squares RSS_0) with the model
    that adds d1 columns for this parameter (RSS_1, d2 residual degrees of freedom): a linear and a
    quadratic term over its axis, or one column per choice. Ranks are used, as a few diverged trials
    would otherwise dominate; equal values share their mean rank, as otherwise the trial numbers
    would decide. The residuals of the smaller model are shuffled over the trials (Freedman & Lane).
    Each statistic is divided by its own quantile among the shuffles, and the largest ratio must
    exceed the (1 - level) quantile of the largest ratio over shuffles (maxT of Westfall & Young),
    so the level holds for all parameters together. A parameter that is only correlated with a
    selected one, as adaptive samplers cause, adds nothing and is not selected.

    Args:
        ranked: complete trials, best first.
        keys: parameters that vary among them.
        level: share of studies without any effect in which a parameter is named.

    Source:
        Freedman & Lane 1983, "A nonstochastic interpretation of reported significance levels";
        Westfall & Young 1993, "Resampling-based multiple testing".
    """
    order = average_ranks(ranked)
    if np.ptp(order) == 0:  # equal ranks: only rounding errors could be explained
        return PermutationTestResult((), None)
    uniform_draws = np.random.default_rng(SEED).random((N_SHUFFLES, len(ranked)))
    remaining = [parameter_columns(key, ranked) for key in keys]
    selected: list[ParameterColumns] = []
    parameters: list[DecisiveParameter] = []
    while True:
        step = [
            (candidate, f_statistics(candidate, selected, order, uniform_draws))
            for candidate in remaining
        ]
        results = [(candidate, result) for candidate, result in step if result is not None]
        if not results:
            return PermutationTestResult(tuple(parameters), None)
        index, explained, limits, is_significant = _find_clearest(
            [result for _, result in results], level
        )
        if not is_significant:
            return PermutationTestResult(tuple(parameters), max(limits))
        parameters.append(DecisiveParameter(results[index][0].key, explained, limits[index]))
        selected.append(results[index][0])
        remaining.remove(results[index][0])


def average_ranks(ranked: Sequence[TrialRecord]) -> Floats:
    """Rank of each trial from 0, shape (n,); equal values have the mean of their ranks."""
    values = [record.value for record in ranked]
    groups = [len(list(group)) for _, group in groupby(values)]
    starts = np.cumsum([0, *groups[:-1]])
    # groupby joins neighbours only; `ranked` is sorted by value, so equal values are neighbours.
    return np.repeat(starts + (np.array(groups) - 1) / 2, groups)


def parameter_columns(key: str, ranked: Sequence[TrialRecord]) -> ParameterColumns:
    """Trials that have a parameter, and its columns of the model.

    Columns are centred over these trials and 0 elsewhere, so they explain nothing of the parameter
    that this one depends on.
    """
    is_active = np.array([key in record.params for record in ranked], np.bool_)
    columns = model_columns(key, [record for record in ranked if key in record.params])
    centred = np.zeros((len(ranked), len(columns)))
    for index, column in enumerate(columns):
        centred[is_active, index] = column - column.mean()
    return ParameterColumns(key, is_active, centred)


def _find_clearest(
    results: Sequence[FStatistics], level: float
) -> tuple[int, float, list[float], bool]:
    """Index and explained share of the clearest parameter, all limits, and True if it is above its.

    Limits are shares of the variance.
    """
    ratios, limit, scales = _scaled_ratios(results, level)
    index = int(ratios[:, 0].argmax())
    # a ratio equal to the limit up to rounding is not significant
    is_significant = bool(ratios[index, 0] > limit * (1 + 1e-9))
    limits = _limit_shares(results, limit, scales)
    return index, results[index].explained_share(float(results[index].f[0])), limits, is_significant


def find_limits(results: Sequence[FStatistics], level: float) -> list[float]:
    """Share of the variance that each statistic must exceed, for all of them together."""
    _, limit, scales = _scaled_ratios(results, level)
    return _limit_shares(results, limit, scales)


def _limit_shares(
    results: Sequence[FStatistics], limit: float, scales: Sequence[float]
) -> list[float]:
    return [
        result.explained_share(limit * scale) for result, scale in zip(results, scales, strict=True)
    ]


def _scaled_ratios(
    results: Sequence[FStatistics], level: float
) -> tuple[Floats, float, list[float]]:
    """Statistics divided by their own quantiles, the limit of these ratios, and the quantiles."""
    # Dividing by the own quantile makes parameters with different d1 comparable: without it the
    # maximum over parameters would be dominated by those whose F has the heaviest tail.
    scales = [max(float(np.quantile(result.f[1:], 1 - level)), 1e-12) for result in results]
    ratios = np.array([result.f / scale for result, scale in zip(results, scales, strict=True)])
    # "higher": an interpolated limit would lie between two shuffles, so that
    # slightly more than `level` of them could exceed it.
    limit = float(np.quantile(ratios[:, 1:].max(axis=0), 1 - level, method="higher"))
    return ratios, limit, scales


def f_statistics(
    parameter: ParameterColumns,
    selected: Sequence[ParameterColumns],
    order: Floats,
    uniform_draws: Floats,
) -> FStatistics | None:
    """Statistics of one parameter after the selected ones; None if too few trials have it."""
    is_active = parameter.is_active
    n = int(is_active.sum())
    smaller_model = np.column_stack([np.ones(n), *(s.columns[is_active] for s in selected)])
    base = _orthonormal_basis(smaller_model)
    own_columns = parameter.columns[is_active]
    basis = _orthonormal_basis(own_columns - base @ (base.T @ own_columns))
    freedom = (basis.shape[1], n - base.shape[1] - basis.shape[1])
    if freedom[0] < 1 or freedom[1] < 1:
        return None
    values = _shuffled_residuals(order[is_active], uniform_draws[:, is_active], base)
    total = (values**2).sum(axis=1)
    explained = ((values @ basis) ** 2).sum(axis=1)
    # A perfect fit leaves 0 or, by rounding, less: F would be infinite or negative.
    unexplained = np.maximum(total - explained, 1e-9 * np.maximum(total, 1e-300))
    return FStatistics((explained / freedom[0]) / (unexplained / freedom[1]), freedom)


def _shuffled_residuals(order: Floats, uniform_draws: Floats, base: Floats) -> Floats:
    """Residuals of the model spanned by `base`, in row 0 as they are, then once per shuffle."""
    residuals = order - base @ (base.T @ order)
    values = np.vstack([residuals, residuals[np.argsort(uniform_draws, axis=1)]])
    # Shuffled residuals are no longer orthogonal to the smaller model, so they are projected again.
    return np.asarray(values - (values @ base) @ base.T, np.float64)


def _orthonormal_basis(columns: Floats) -> Floats:
    """Orthonormal basis of the column space; columns below the rank tolerance are dropped."""
    if not columns.size:
        return np.zeros((len(columns), 0))
    left_vectors, singular_values, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(
        left_vectors[:, singular_values > 1e-8 * max(1.0, float(singular_values.max()))], np.float64
    )
