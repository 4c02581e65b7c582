"""A decision in words."""

from collections.abc import Mapping, Sequence

from harness.config.data import MIN_RANKING_IMAGES
from harness.core.plurals import count
from harness.evaluation.statistics.decisions import (
    ConfigurationCost,
    RankedConfiguration,
    smallest_configurations,
)
from harness.evaluation.statistics.variance_components import MeanEstimate


def describe_decision(
    ranked: Sequence[RankedConfiguration],
    comparisons: Mapping[str, MeanEstimate],
    tied: Sequence[str],
    choice: str,
    costs: Mapping[str, ConfigurationCost],
    *,
    folds: bool,
    n_images: int,
) -> str:
    """Who is better, or which are tied and what to take; names stand in it as they are."""
    text = _describe_ranking(ranked, comparisons, tied, choice, costs, folds)
    if len(ranked) > 1 and n_images < MIN_RANKING_IMAGES:
        images = count(n_images, "validation image")
        text += (
            f" The comparison rests on {images}; below {MIN_RANKING_IMAGES} their chance is too "
            "large to rank by."
        )
    return text


def _describe_ranking(
    ranked: Sequence[RankedConfiguration],
    comparisons: Mapping[str, MeanEstimate],
    tied: Sequence[str],
    choice: str,
    costs: Mapping[str, ConfigurationCost],
    folds: bool,
) -> str:
    leader = ranked[0].configuration
    if len(ranked) == 1:
        return f"{leader} is the only configuration: there is nothing to compare it with."
    if ranked[0].verdict == "better":
        rival = ranked[1].configuration
        comparison = comparisons[rival]
        return (
            f"{leader} is better than every other configuration: {abs(comparison.value):.4f} "
            "ahead of "
            f"{rival}, the next (p = {comparison.p:.2g}, two-sided, {_run_kind(folds)} and images "
            "random)."
        )
    text = f"{_join_names(tied)} are tied: no test tells them apart"
    if all(row.sd_runs is None for row in ranked):
        text += f", as each has one of the {_run_kind(folds)} only"
    if len(tied) < len(ranked):
        worse = [row.configuration for row in ranked if row.configuration not in tied]
        text += f"; worse than {leader}: {', '.join(worse)}"
    candidates = smallest_configurations(tied, costs)
    if len(candidates) == 1:
        return f"{text}. The smallest of the tied is {choice}{_describe_size(costs.get(choice))}."
    candidates_text = (
        "all are of one size"
        if len(candidates) == len(tied)
        else f"{_join_names(candidates)} are the smallest"
    )
    size = _describe_size(costs.get(choice))
    return f"{text}. Of the tied, {candidates_text}, and {choice}{size} has the best mean of these."


def _run_kind(folds: bool) -> str:
    return "folds" if folds else "seeds"


def _join_names(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _describe_size(cost: ConfigurationCost | None) -> str:
    if cost is None:
        return ""
    work = "" if cost.gflops is None else f", {cost.gflops:.3g} GFLOPs"
    return f" ({cost.parameters / 1e6:.2f} M parameters{work})"
