"""A decision in words."""

from collections.abc import Mapping, Sequence

from harness.data_config import MIN_RANKING_IMAGES
from harness.evaluation.differences import Estimate
from harness.evaluation.verdicts import Cost, Ranked, smallest
from harness.wording import count


def sentence(
    ranked: Sequence[Ranked],
    against: Mapping[str, Estimate],
    tied: Sequence[str],
    choice: str,
    costs: Mapping[str, Cost],
    *,
    folds: bool,
    n_images: int,
) -> str:
    """Who is better, or which are tied and what to take; names stand in it as they are."""
    words = _verdict(ranked, against, tied, choice, costs, folds)
    if len(ranked) > 1 and n_images < MIN_RANKING_IMAGES:
        images = count(n_images, "validation image")
        words += (
            f" The comparison rests on {images}; below {MIN_RANKING_IMAGES} their chance is too "
            "large to rank by."
        )
    return words


def _verdict(
    ranked: Sequence[Ranked],
    against: Mapping[str, Estimate],
    tied: Sequence[str],
    choice: str,
    costs: Mapping[str, Cost],
    folds: bool,
) -> str:
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
    words = f"{_listed(tied)} are tied: no test tells them apart"
    if all(row.sd_runs is None for row in ranked):
        words += f", as each has one of the {_runs(folds)} only"
    if len(tied) < len(ranked):
        worse = [row.configuration for row in ranked if row.configuration not in tied]
        words += f"; worse than {leader}: {', '.join(worse)}"
    alike = smallest(tied, costs)
    if len(alike) == 1:
        return f"{words}. The smallest of the tied is {choice}{_size(costs.get(choice))}."
    which = (
        "all are of one size" if len(alike) == len(tied) else f"{_listed(alike)} are the smallest"
    )
    size = _size(costs.get(choice))
    return f"{words}. Of the tied, {which}, and {choice}{size} has the best mean of these."


def _runs(folds: bool) -> str:
    return "folds" if folds else "seeds"


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _size(cost: Cost | None) -> str:
    if cost is None:
        return ""
    work = "" if cost.gflops is None else f", {cost.gflops:.3g} GFLOPs"
    return f" ({cost.parameters / 1e6:.2f} M parameters{work})"
