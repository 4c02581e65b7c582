"""Parameters whose values explain the order of the trials better than shuffled values do.

Any measure of importance gives every parameter something: of 40 trials in which nothing matters one
of three parameters gets most. This is the test that stands before a name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from harness.core.records import TrialRecord
from harness.report.analysis.effects import model_columns

Floats = NDArray[np.float64]

LEVEL = 0.02  # of studies in which nothing matters, how many name a parameter all the same
N_SHUFFLES = 1000
SEED = 0


@dataclass(frozen=True)
class DecisiveParameter:
    """A parameter that is told from chance.

    Attributes:
        explained: share of the variance of the trials' ranks that its values explain, in [0, 1];
            of what the parameters before it left.
        shuffled: the share that shuffled values exceed in LEVEL of all shuffles, the best of all
            parameters that were left counted each time.
    """

    key: str
    explained: float
    shuffled: float


@dataclass(frozen=True)
class PermutationTestResult:
    """What was told from chance.

    Attributes:
        parameters: the parameters, the clearest first.
        shuffled: the share of the variance that shuffled values of one of the remaining parameters
            reach; None where none remained that could be tested.
    """

    parameters: tuple[DecisiveParameter, ...]
    shuffled: float | None


@dataclass(frozen=True, eq=False)
class _ParameterColumns:
    """A parameter: the trials that have it, and its columns of the model, for all trials."""

    key: str
    is_active: NDArray[np.bool_]
    columns: Floats


@dataclass(frozen=True, eq=False)
class _FStatistics:
    """F statistics: of the order that was, then of each shuffled one."""

    f: Floats
    freedom: tuple[int, int]

    def explained_share(self, f: float) -> float:
        """The share of the variance that an F statistic stands for."""
        return f * self.freedom[0] / (f * self.freedom[0] + self.freedom[1])


def find_decisive_parameters(
    ranked: Sequence[TrialRecord], keys: Sequence[str], level: float = LEVEL
) -> PermutationTestResult:
    """The parameters that the order of the trials depends on, the clearest first.

    Forward selection: for each parameter the F statistic of a line and a parabola over its axis, or
    of one level for each choice, over the ranks of the trials, beside the parameters selected so
    far. Ranks, as a few diverged trials would else decide; equal values share the mean of their
    ranks, which would else follow the numbers of the trials. The residuals of the smaller model are
    shuffled over the trials (Freedman, Lane 1983); each parameter's statistic is divided by its own
    quantile among shuffles, and the largest of all parameters must exceed what the largest reaches
    (Westfall, Young 1993), so that the level holds for all parameters together. What is correlated
    with a selected parameter, as an adaptive sampler makes it, explains nothing beside it.

    Args:
        ranked: complete trials, best first.
        keys: parameters that vary among them.
        level: share of studies without any effect in which something is named.
    """
    order = average_ranks(ranked)
    if np.ptp(order) == 0:  # only rounding would be left to explain
        return PermutationTestResult((), None)
    uniform_draws = np.random.default_rng(SEED).random((N_SHUFFLES, len(ranked)))
    remaining = [_ParameterColumns(key, *_centred_columns(key, ranked)) for key in keys]
    selected: list[_ParameterColumns] = []
    parameters: list[DecisiveParameter] = []
    while True:
        step = [
            (candidate, _f_statistics(candidate, selected, order, uniform_draws))
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
    """The rank of each trial from 0, shape (n,); equal values have the mean of their ranks."""
    values = [record.value for record in ranked]
    groups = [len(list(group)) for _, group in groupby(values)]
    starts = np.cumsum([0, *groups[:-1]])
    return np.repeat(starts + (np.array(groups) - 1) / 2, groups)


def _centred_columns(key: str, ranked: Sequence[TrialRecord]) -> tuple[NDArray[np.bool_], Floats]:
    """Where the parameter is in force, and its part of the model.

    Columns are centred there and 0 elsewhere, so that they explain nothing of what the parameter
    depends on.
    """
    is_active = np.array([key in record.params for record in ranked], np.bool_)
    columns = model_columns(key, [record for record in ranked if key in record.params])
    centred = np.zeros((len(ranked), len(columns)))
    for index, column in enumerate(columns):
        centred[is_active, index] = column - column.mean()
    return is_active, centred


def _find_clearest(
    results: Sequence[_FStatistics], level: float
) -> tuple[int, float, list[float], bool]:
    """Place and share of the clearest parameter, each one's limit, and whether it is above its own.

    Limits are shares of the variance.
    """
    scales = [max(float(np.quantile(result.f[1:], 1 - level)), 1e-12) for result in results]
    ratios = np.array([result.f / scale for result, scale in zip(results, scales, strict=True)])
    limit = float(np.quantile(ratios[:, 1:].max(axis=0), 1 - level, method="higher"))
    index = int(ratios[:, 0].argmax())
    limits = [
        result.explained_share(limit * scale) for result, scale in zip(results, scales, strict=True)
    ]
    is_significant = bool(
        ratios[index, 0] > limit * (1 + 1e-9)
    )  # equal to the limit but for rounding: not
    return index, results[index].explained_share(float(results[index].f[0])), limits, is_significant


def _f_statistics(
    parameter: _ParameterColumns,
    selected: Sequence[_ParameterColumns],
    order: Floats,
    uniform_draws: Floats,
) -> _FStatistics | None:
    """The statistics of one parameter beside the selected ones.

    None where the trials that have the parameter are too few to test it beside the selected ones.
    """
    is_active = parameter.is_active
    n = int(is_active.sum())
    base = _orthonormal_basis(
        np.column_stack([np.ones(n), *(s.columns[is_active] for s in selected)])
    )
    own_columns = parameter.columns[is_active]
    basis = _orthonormal_basis(own_columns - base @ (base.T @ own_columns))
    freedom = (basis.shape[1], n - base.shape[1] - basis.shape[1])
    if freedom[0] < 1 or freedom[1] < 1:
        return None
    residuals = order[is_active] - base @ (base.T @ order[is_active])
    shuffles = np.argsort(uniform_draws[:, is_active], axis=1)
    values = np.vstack([residuals, residuals[shuffles]])
    values = values - (values @ base) @ base.T
    total = (values**2).sum(axis=1)
    explained = ((values @ basis) ** 2).sum(axis=1)
    unexplained = np.maximum(total - explained, 1e-9 * np.maximum(total, 1e-300))
    return _FStatistics((explained / freedom[0]) / (unexplained / freedom[1]), freedom)


def _orthonormal_basis(columns: Floats) -> Floats:
    """A basis of what the columns span."""
    if not columns.size:
        return np.zeros((len(columns), 0))
    left_vectors, singular_values, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(
        left_vectors[:, singular_values > 1e-8 * max(1.0, float(singular_values.max()))], np.float64
    )
