"""Parameters whose values explain the order of the trials better than shuffled values do.

Any measure of importance gives every parameter something: of 40 trials in which nothing matters one
of three parameters gets most. This is the test that stands before a name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from harness.records import TrialRecord
from harness.report.effects import model_columns

Floats = NDArray[np.float64]

LEVEL = 0.02  # of studies in which nothing matters, how many name a parameter all the same
SHUFFLES = 1000
SEED = 0


@dataclass(frozen=True)
class Decisive:
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
class Tests:
    """What was told from chance.

    Attributes:
        found: the parameters, the clearest first.
        shuffled: the share of the variance that shuffled values of one of the remaining parameters
            reach; None where none remained that could be tested.
    """

    found: tuple[Decisive, ...]
    shuffled: float | None


@dataclass(frozen=True, eq=False)
class _Tested:
    """A parameter: the trials that have it, and its columns of the model, for all trials."""

    key: str
    inside: NDArray[np.bool_]
    columns: Floats


@dataclass(frozen=True, eq=False)
class _Result:
    """F statistics: of the order that was, then of each shuffled one."""

    f: Floats
    freedom: tuple[int, int]

    def share(self, f: float) -> float:
        """The share of the variance that an F statistic stands for."""
        return f * self.freedom[0] / (f * self.freedom[0] + self.freedom[1])


def decisive(ranked: Sequence[TrialRecord], keys: Sequence[str], level: float = LEVEL) -> Tests:
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
    order = ranks(ranked)
    if np.ptp(order) == 0:  # only rounding would be left to explain
        return Tests((), None)
    chance = np.random.default_rng(SEED).random((SHUFFLES, len(ranked)))
    left = [_Tested(key, *_columns(key, ranked)) for key in keys]
    selected: list[_Tested] = []
    found: list[Decisive] = []
    while True:
        step = [(one, _statistics(one, selected, order, chance)) for one in left]
        results = [(one, result) for one, result in step if result is not None]
        if not results:
            return Tests(tuple(found), None)
        one, explained, limits, above = _largest([result for _, result in results], level)
        if not above:
            return Tests(tuple(found), max(limits))
        found.append(Decisive(results[one][0].key, explained, limits[one]))
        selected.append(results[one][0])
        left.remove(results[one][0])


def ranks(ranked: Sequence[TrialRecord]) -> Floats:
    """The rank of each trial from 0, shape (n,); equal values have the mean of their ranks."""
    values = [record.value for record in ranked]
    groups = [len(list(group)) for _, group in groupby(values)]
    starts = np.cumsum([0, *groups[:-1]])
    return np.repeat(starts + (np.array(groups) - 1) / 2, groups)


def _columns(key: str, ranked: Sequence[TrialRecord]) -> tuple[NDArray[np.bool_], Floats]:
    """Where the parameter is in force, and its part of the model.

    Columns are centred there and 0 elsewhere, so that they explain nothing of what the parameter
    depends on.
    """
    inside = np.array([key in record.params for record in ranked], np.bool_)
    columns = model_columns(key, [record for record in ranked if key in record.params])
    placed = np.zeros((len(ranked), len(columns)))
    for place, column in enumerate(columns):
        placed[inside, place] = column - column.mean()
    return inside, placed


def _largest(results: Sequence[_Result], level: float) -> tuple[int, float, list[float], bool]:
    """Place and share of the clearest parameter, each one's limit, and whether it is above its own.

    Limits are shares of the variance.
    """
    scales = [max(float(np.quantile(each.f[1:], 1 - level)), 1e-12) for each in results]
    ratios = np.array([each.f / scale for each, scale in zip(results, scales, strict=True)])
    limit = float(np.quantile(ratios[:, 1:].max(axis=0), 1 - level, method="higher"))
    one = int(ratios[:, 0].argmax())
    limits = [each.share(limit * scale) for each, scale in zip(results, scales, strict=True)]
    above = bool(ratios[one, 0] > limit * (1 + 1e-9))  # equal to the limit but for rounding: not
    return one, results[one].share(float(results[one].f[0])), limits, above


def _statistics(
    one: _Tested, selected: Sequence[_Tested], order: Floats, chance: Floats
) -> _Result | None:
    """The statistics of one parameter beside the selected ones.

    None where the trials that have the parameter are too few to test it beside the selected ones.
    """
    inside = one.inside
    n = int(inside.sum())
    base = _orthonormal(np.column_stack([np.ones(n), *(s.columns[inside] for s in selected)]))
    own = one.columns[inside]
    basis = _orthonormal(own - base @ (base.T @ own))
    freedom = (basis.shape[1], n - base.shape[1] - basis.shape[1])
    if freedom[0] < 1 or freedom[1] < 1:
        return None
    left = order[inside] - base @ (base.T @ order[inside])
    shuffles = np.argsort(chance[:, inside], axis=1)
    values = np.vstack([left, left[shuffles]])
    values = values - (values @ base) @ base.T
    total = (values**2).sum(axis=1)
    explained = ((values @ basis) ** 2).sum(axis=1)
    rest = np.maximum(total - explained, 1e-9 * np.maximum(total, 1e-300))
    return _Result((explained / freedom[0]) / (rest / freedom[1]), freedom)


def _orthonormal(columns: Floats) -> Floats:
    """A basis of what the columns span."""
    if not columns.size:
        return np.zeros((len(columns), 0))
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > 1e-8 * max(1.0, float(sizes.max()))], np.float64)
