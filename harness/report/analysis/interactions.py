"""Interactions of parameters: pairs that explain more together than each of them alone.

As with single parameters, the best of several pairs always explains something; a pair is named only
if it explains more than shuffled values do (`harness.report.analysis.permutation_test`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harness.core.records import TrialRecord
from harness.report.analysis.importance import ImportanceResult, sample_by_rank
from harness.report.analysis.permutation_test import (
    LEVEL,
    N_SHUFFLES,
    SEED,
    FStatistics,
    ParameterColumns,
    average_ranks,
    f_statistics,
    find_limits,
    parameter_columns,
)
from harness.report.tables.study_tables import StudyTables, ranked_records

Floats = NDArray[np.float64]

MIN_INTERACTION_TRIALS = 20


@dataclass(frozen=True)
class Interaction:
    """A pair of parameters with a significant interaction.

    Attributes:
        explained: share of the variance of the trials' ranks that the pair explains beyond the
            effects of all named parameters, in [0, 1].
        shuffled: the share that shuffled values exceed in LEVEL of all shuffles.
    """

    first: str
    second: str
    explained: float
    shuffled: float


@dataclass(frozen=True)
class InteractionResult:
    """Significant interactions, the clearest first, and the number of pairs that were tested."""

    named: tuple[Interaction, ...]
    n_pairs: int


NO_INTERACTIONS = InteractionResult((), 0)


def measure_interactions(tables: StudyTables, importances: ImportanceResult) -> InteractionResult:
    """Test the interactions of all pairs of the parameters that matter.

    Args:
        importances: of all complete trials; only its named parameters are paired.
    """
    complete = sample_by_rank(ranked_records(tables))
    keys = [parameter.key for parameter in importances.named]
    if len(complete) < MIN_INTERACTION_TRIALS or len(keys) < 2:
        return NO_INTERACTIONS
    return find_interactions(complete, keys)


def find_interactions(
    ranked: Sequence[TrialRecord], keys: Sequence[str], level: float = LEVEL
) -> InteractionResult:
    """Pairs whose products explain more than shuffled values do, beyond all single effects.

    The model of all parameters is extended by the products of the columns of two of them, and its F
    statistic is compared with those of shuffled residuals (Freedman & Lane), as the largest of all
    pairs (maxT of Westfall & Young). Ranks bend effects that add up, which looks like an
    interaction, and a few diverged trials dominate values; so a pair must pass on both.

    Args:
        ranked: complete trials, best first.
        keys: parameters that vary among them.
        level: share of studies without any interaction in which a pair is named.
    """
    single = [parameter_columns(key, ranked) for key in keys]
    pairs = [(a, b, _products(a, b)) for a, b in combinations(single, 2)]
    draws = np.random.default_rng(SEED).random((N_SHUFFLES, len(ranked)))
    values = np.array([record.value for record in ranked], np.float64)
    significant: list[dict[int, tuple[float, float]]] = []
    n_tested = 0
    for response in (average_ranks(ranked), values):
        if np.ptp(response) == 0:
            return NO_INTERACTIONS
        statistics = {
            index: result
            for index, (*_, products) in enumerate(pairs)
            if (result := f_statistics(products, single, response, draws)) is not None
        }
        n_tested = len(statistics)
        significant.append(_significant(statistics, level))
    by_rank, by_value = significant
    named = [
        Interaction(pairs[index][0].key, pairs[index][1].key, *shares)
        for index, shares in by_rank.items()
        if index in by_value
    ]
    named.sort(key=lambda interaction: -interaction.explained)
    return InteractionResult(tuple(named), n_tested)


def _products(first: ParameterColumns, second: ParameterColumns) -> ParameterColumns:
    """Products of each column of one parameter with each of the other; 0 where one is inactive."""
    columns = first.columns[:, :, None] * second.columns[:, None, :]
    return ParameterColumns(
        f"{first.key} × {second.key}",
        first.is_active & second.is_active,
        columns.reshape(len(columns), -1),
    )


def _significant(
    statistics: dict[int, FStatistics], level: float
) -> dict[int, tuple[float, float]]:
    """Explained share and its limit of each statistic that exceeds its limit."""
    if not statistics:
        return {}
    limits = find_limits(list(statistics.values()), level)
    shares = {}
    for (index, result), limit in zip(statistics.items(), limits, strict=True):
        explained = result.explained_share(float(result.f[0]))
        # a share equal to the limit up to rounding is not significant
        if explained > limit * (1 + 1e-9):
            shares[index] = (explained, limit)
    return shares
