"""A decision in words."""

from collections.abc import Mapping, Sequence

from harness.evaluation.differences import Estimate
from harness.evaluation.verdicts import Cost, Ranked


def sentence(
    ranked: Sequence[Ranked],
    against: Mapping[str, Estimate],
    tied: Sequence[str],
    choice: str,
    costs: Mapping[str, Cost],
    folds: bool,
) -> str:
    """Who is better, or which are tied and what to take; names stand in it as they are."""
    leader = ranked[0].configuration
    if len(ranked) == 1:
        return f"{leader} is the only configuration: there is nothing to compare it with."
    if ranked[0].verdict == "better":
        rival = ranked[1].configuration
        found = against[rival]
        return (
            f"{leader} is better than every other configuration: {abs(found.value):.4f} ahead of "
            f"{rival}, the next (p = {found.p:.2g}, two-sided, {_runs(folds)} and images random)."
        )
    words = f"{', '.join(tied)} are tied: no test tells them apart"
    if all(row.sd_runs is None for row in ranked):
        words += f", as each has one of the {_runs(folds)} only"
    if len(tied) < len(ranked):
        worse = [row.configuration for row in ranked if row.configuration not in tied]
        words += f"; worse than {leader}: {', '.join(worse)}"
    return f"{words}. The cheapest of the tied is {choice}{_cost(costs.get(choice))}."


def _runs(folds: bool) -> str:
    return "folds" if folds else "seeds"


def _cost(cost: Cost | None) -> str:
    if cost is None:
        return ""
    return f" ({cost.parameters / 1e6:.2f} M parameters, {cost.seconds:.0f} s of training)"
