"""Compare groups of trials at equal tuning budget: the expected best value of n trials of each.

The mean of a group ignores how well it can be tuned, and its best value favours the group with the
most trials. The expected best of n trials, with the same n for all groups, has neither bias.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core.records import TrialRecord
from harness.core.text import count
from harness.report.tables.study_tables import StudyTables, group_by_value, ranked_records

Floats = NDArray[np.float64]

MIN_GROUP = 3  # with fewer trials a group's curve would be one or two numbers
MAX_BUDGET = 100  # number of trials at which curves end
RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class BudgetCurve:
    """Expected best value of a group at each budget.

    Attributes:
        group: value of the categorical parameter.
        n_complete, n_pruned: numbers of trials in the group.
        expected: expected best of 1, 2, … trials, up to the size of the smallest group and at most
            MAX_BUDGET.
        low, high: 95 % bootstrap band of each, from resampled trials.
    """

    group: str
    n_complete: int
    n_pruned: int
    expected: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class BudgetComparison:
    """The groups of one parameter, best at the largest common budget first.

    Attributes:
        small_groups: groups with fewer than MIN_GROUP trials that have a value, with that number.
    """

    key: str
    curves: tuple[BudgetCurve, ...]
    small_groups: tuple[tuple[str, int], ...]

    @property
    def budget(self) -> int:
        """Trials of each group at the largest common budget."""
        return len(self.curves[0].expected) if self.curves else 0

    @property
    def sentence(self) -> str:
        """The leading groups at the common budget, and whether their bands overlap."""
        if len(self.curves) < 2:
            return (
                f"{self.key}: a comparison needs two values with {MIN_GROUP} complete or pruned "
                "trials each."
            )
        first, second = self.curves[:2]
        overlap = max(first.low[-1], second.low[-1]) <= min(first.high[-1], second.high[-1])
        verdict = (
            "their bands overlap, so the order may be due to chance"
            if overlap
            else "their bands do not overlap"
        )
        return (
            f"{self.key}: the expected best of {count(self.budget, 'trial')} is "
            f"{_describe_band(first)} with {first.group} and {_describe_band(second)} with "
            f"{second.group}; {verdict}."
        )


def expected_best(values: Sequence[float], n: int, *, minimized: bool) -> float:
    """Mean of the best value over all sets of `n` of these values (exact).

    With the N values sorted from best to worst, v_i is the best of C(N - i, n - 1) of the C(N, n)
    sets (i from 1), so the expectation is

        Σ_i v_i C(N - i, n - 1) / C(N, n).

    Args:
        values: N finite values.
        n: size of the sets, 1 to N; 1 gives the mean, N the best value.

    Raises:
        ValueError: n is not between 1 and N.

    Source:
        Dodge et al. 2019, "Show Your Work", arXiv:1909.03004, with draws without replacement as in
        Tang et al. 2020, arXiv:2004.13705, which makes the estimate unbiased.
    """
    if not 1 <= n <= len(values):
        raise ValueError(f"n is {n}, but must be between 1 and {len(values)}")
    order = np.sort(np.asarray(values, np.float64))
    return float((order if minimized else order[::-1]) @ _best_probabilities(len(values), n))


def compare_at_equal_budget(tables: StudyTables, key: str) -> BudgetComparison:
    """Compare the values of a categorical parameter at equal budget.

    Complete and pruned trials count, also imported ones. A pruned trial counts with the best value
    that it reached: with more training it could only have improved, so this is a bound to the
    group's disadvantage. Ranking it last would assume a value that was not measured; leaving it out
    would favour groups whose bad trials were pruned. Failed trials have no value and are left out.
    """
    trials = [*ranked_records(tables), *_pruned_records(tables)]
    groups = group_by_value(trials, key)
    # The smallest group limits the budget of all, so a tiny
    # group would reduce every curve to its size.
    large = {name: group for name, group in groups.items() if len(group) >= MIN_GROUP}
    n = min([MAX_BUDGET, *(len(group) for group in large.values())])
    curves = [
        _make_curve(name, group, n, minimized=tables.minimized) for name, group in large.items()
    ]
    sort_key = tables.config.objective.sort_key
    # At the largest common budget: where curves cross, the order at one trial would be another.
    curves.sort(key=lambda curve: (sort_key(curve.expected[-1]), curve.group))
    small = sorted((name, len(group)) for name, group in groups.items() if name not in large)
    return BudgetComparison(key, tuple(curves), tuple(small))


def _pruned_records(tables: StudyTables) -> list[TrialRecord]:
    return [
        record
        for record in tables.records
        if record.state == "pruned" and record.value is not None and math.isfinite(record.value)
    ]


def _make_curve(
    group: str, records: Sequence[TrialRecord], n: int, *, minimized: bool
) -> BudgetCurve:
    values = np.sort(np.array([record.value for record in records], np.float64))
    ordered = values if minimized else values[::-1]
    weights = np.stack([_best_probabilities(len(values), k) for k in range(1, n + 1)])
    # A fixed seed: a report of unchanged trials must not change. Sorted indices into sorted values
    # give sorted resamples, so each needs no sort of its own.
    rng = np.random.default_rng(0)
    indices = np.sort(rng.integers(0, len(values), (RESAMPLES, len(values))), axis=1)
    resampled = ordered[indices] @ weights.T
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    n_pruned = sum(record.state == "pruned" for record in records)
    bands = tuple(low.tolist()), tuple(high.tolist())
    expected = tuple((weights @ ordered).tolist())
    return BudgetCurve(group, len(records) - n_pruned, n_pruned, expected, *bands)


def _best_probabilities(size: int, n: int) -> Floats:
    """Probability that the i-th best of N = `size` values is the best of a random set of `n`.

    C(N - i, n - 1) / C(N, n) for i from 1: n / N at i = 1, and each next term is the one before
    times (N - i - n + 1) / (N - i).
    """
    # The recursion avoids the binomials themselves, which overflow float64 above about N = 1,000.
    i = np.arange(1, size, dtype=np.float64)
    ratios = np.clip((size - i - n + 1) / (size - i), 0.0, None)
    return np.concatenate([[n / size], n / size * np.cumprod(ratios)])


def _describe_band(curve: BudgetCurve) -> str:
    return f"{curve.expected[-1]:.4f} ({curve.low[-1]:.4f} to {curve.high[-1]:.4f})"
