"""Score replays: epochs spent, distance from the best network, good trials lost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from benchmarks.recorded import Table
from benchmarks.replaying import Played

Replays = Sequence[Sequence[Played]]
POINTS = 100.0  # of the objective


@dataclass(frozen=True)
class Score:
    """One replay.

    Attributes:
        epochs: that were charged.
        regret: points behind the table's best network of the best complete one; inf: none is.
        epochs_to_top: charged when the first of the table's best 5 % was complete; inf: never.
        epochs_to_point: charged when the first within one point of the table's best was complete.
        cut: share of the best tenth of the networks played that was pruned.
    """

    epochs: int
    regret: float
    epochs_to_top: float
    epochs_to_point: float
    cut: float


def score(table: Table, played: Sequence[Played]) -> Score:
    """Score one replay; the budget may have cut off its last trial."""
    final = table.final
    complete = [final[one.network] for one in played if one.complete]
    best = float(min(complete, default=math.inf))
    good = np.sort(final)[math.ceil(0.05 * len(final)) - 1]
    spent = np.cumsum([one.epochs for one in played])

    def arrival(enough: float) -> float:
        reached = (
            int(at)
            for one, at in zip(played, spent, strict=True)
            if one.complete and final[one.network] <= enough
        )
        return next(reached, math.inf)

    # A trial with a second chance was played twice.
    tried = {one.network for one in played}
    tenth = sorted(tried, key=lambda network: final[network])[: math.ceil(0.1 * len(tried))]
    finished = {one.network for one in played if one.complete}
    cut = float(np.mean([network not in finished for network in tenth])) if tenth else 0.0
    regret = POINTS * (best - float(final.min()))
    total = int(spent[-1]) if played else 0
    near = float(final.min()) + 1 / POINTS
    return Score(total, regret, arrival(good), arrival(near), cut)


def until(played: Sequence[Played], epochs: int) -> list[Played]:
    """The replay as it would have been with this many epochs; its last trial may be cut off."""
    kept: list[Played] = []
    for one in played:
        left = epochs - sum(before.epochs for before in kept)
        if left > 0:
            kept.append(one if one.epochs <= left else Played(one.network, left, complete=False))
    return kept


def interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean difference (scipy's BCa bootstrap), shape (n,) of pairs."""
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    found = bootstrap((differences,), np.mean, n_resamples=9999, rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def print_table(
    table: Table,
    results: Mapping[str, tuple[Replays, Replays]],
    reference: str,
    *,
    trials: int,
    epochs: int,
) -> None:
    """Print a Markdown table with a row per arm, at equal trials and at equal epochs.

    Args:
        results: of each arm the replays where trials are scarce, and where epochs are.
        reference: the arm to which differences are paired by seed.
    """
    full = table.epochs * min(trials, len(table.ids))
    few = {arm: [score(table, one) for one in replays] for arm, (replays, _) in results.items()}
    long = {
        arm: [score(table, until(one, epochs)) for one in replays]
        for arm, (_, replays) in results.items()
    }
    print(f"{len(table.ids)} networks of {table.epochs} epochs, {len(few[reference])} seeds\n")
    print(
        f"| arm | {trials} trials: share of the epochs | points behind | more than {reference} "
        f"| best tenth cut | {epochs} epochs: used | points behind | more than {reference} "
        "| epochs to the best 5 % | to one point |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for arm in results:
        share = np.mean([one.epochs for one in few[arm]]) / full
        cut = np.mean([one.cut for one in few[arm]])
        used = np.mean([one.epochs for one in long[arm]])
        to_top = np.median([one.epochs_to_top for one in long[arm]])
        to_point = np.median([one.epochs_to_point for one in long[arm]])
        print(
            f"| {arm} | {share:.2f} | {_regrets(few[arm], few[reference])} | {cut:.0%} "
            f"| {used:.0f} | {_regrets(long[arm], long[reference])} | {to_top:.0f} "
            f"| {to_point:.0f} |"
        )


def _regrets(scores: Sequence[Score], reference: Sequence[Score]) -> str:
    own = np.array([one.regret for one in scores])
    if not np.isfinite(own).all():
        return f"{np.isinf(own).sum()} of {len(own)} without a complete trial | -"
    differences = own - np.array([one.regret for one in reference])
    low, high = interval(differences)
    return f"{own.mean():.1f} | {differences.mean():+.1f} ({low:+.1f} to {high:+.1f})"
