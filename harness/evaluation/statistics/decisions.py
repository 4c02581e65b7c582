"""What a decision about configurations says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.config.data import MIN_RANKING_IMAGES
from harness.core.plurals import count
from harness.evaluation.statistics.intervals import ConfidenceInterval
from harness.evaluation.statistics.power import required_seeds
from harness.evaluation.statistics.variance_components import MeanEstimate

PLANNED_POWER = 0.85
SAME_SIZE = 0.05  # configurations whose sizes differ by no larger share count as equal
RankingVerdict = Literal["better", "tied", "worse"]


@dataclass(frozen=True)
class ConfigurationCost:
    """What a configuration costs.

    Attributes:
        parameters: number of weights.
        seconds: mean of training. They depend on the machine and on what else it did, so they are
            shown and decide nothing.
        gflops: of one forward pass of one image; None where it was not recorded.
    """

    parameters: int
    seconds: float
    gflops: float | None = None


@dataclass(frozen=True)
class RankedConfiguration:
    """One configuration.

    Attributes:
        configuration: its name, as given.
        mean: over runs, of the means over images; the ranking is by it.
        interval: 95 %, of seeds and images like these; None with one run or below 50 images.
        sd_runs: standard deviation of the run means (seeds or folds); None with one run.
        verdict: better (than every other one), tied (not shown worse than the leader), worse.
    """

    configuration: str
    mean: float
    interval: ConfidenceInterval | None
    sd_runs: float | None
    verdict: RankingVerdict


@dataclass(frozen=True)
class RankingDecision:
    """What the runs of all configurations say.

    Attributes:
        ranked: best first; equal means by name.
        winner: the one that is better than every other; None if there is none.
        tied: those not shown worse than the leader, which is the first of them.
        choice: of the tied that are as small as the smallest (`smallest_configurations`), the one
            with the best mean.
        sentence: all of this in words. Names of configurations stand in it as they are.
        needed_seeds: for each configuration, to find a lead of one point over all others with a
            chance of 80 %; None where no number of seeds would do (more images are needed), with
            folds, with one run each, and below MIN_RANKING_IMAGES images.
        needed_images: for a difference of one point between the two that lead to stand out of
            the chance of the images, with the same power; None where it cannot be told, as below
            MIN_RANKING_IMAGES images.
        sd_runs: root of the mean variance of the run means within configurations; None where no
            configuration has two.
        sd_freedom: degrees of freedom of that.
        images_error: the largest part, over comparisons with the leader, of the standard error
            that more seeds would not remove.
        n_images: how many images the comparison is of.
    """

    ranked: tuple[RankedConfiguration, ...]
    winner: str | None
    tied: tuple[str, ...]
    choice: str
    sentence: str
    needed_seeds: int | None
    needed_images: int | None
    sd_runs: float | None = None
    sd_freedom: int = 0
    images_error: float = 0.0
    n_images: int = 0

    def seeds_for(self, difference: float, power: float = PLANNED_POWER) -> int | None:
        """Seeds for each configuration to find a lead of `difference` over all others.

        Planned for a little more than the promised 80 %, as images_error is an estimate too.

        Returns:
            None with one run each, below MIN_RANKING_IMAGES images, whose part of the error is not
            known, and where no number of seeds would do.
        """
        if self.sd_runs is None or self.n_images < MIN_RANKING_IMAGES:
            return None
        return required_seeds(
            self.sd_runs,
            difference,
            power=power,
            n_configurations=len(self.ranked),
            images_error=self.images_error,
            freedom=self.sd_freedom,
        )


def smallest_configurations(
    names: Sequence[str], costs: Mapping[str, ConfigurationCost]
) -> tuple[str, ...]:
    """Those that are as small as the smallest, in the order given.

    They have at most 5 % more parameters than the one with the fewest, and among these at most 5 %
    more GFLOPs than the one with the fewest; where any of these lacks its GFLOPs, parameters
    count alone. Configurations without a cost count as larger than all others.
    """
    parameters = {name: costs[name].parameters for name in names if name in costs}
    if not parameters:
        return tuple(names)
    limit = (1 + SAME_SIZE) * min(parameters.values())
    candidates = [name for name in names if name in parameters and parameters[name] <= limit]
    candidate_gflops = [costs[name].gflops for name in candidates]
    recorded_gflops = [gflops for gflops in candidate_gflops if gflops is not None]
    if len(recorded_gflops) < len(candidate_gflops):
        return tuple(candidates)
    limit = (1 + SAME_SIZE) * min(recorded_gflops)
    return tuple(
        name for name, value in zip(candidates, recorded_gflops, strict=True) if value <= limit
    )


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
