"""Ranking decision about configurations, and its description in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.config.data import MIN_RANKING_IMAGES
from harness.core.text import count
from harness.evaluation.statistics.intervals import ConfidenceInterval
from harness.evaluation.statistics.power import required_seeds
from harness.evaluation.statistics.variance_components import MeanEstimate

# Plans for more than the promised 80 %: the images' error that enters is itself an estimate.
PLANNED_POWER = 0.85
SAME_SIZE = 0.05  # sizes within this share of the smallest count as equal
RankingVerdict = Literal["better", "tied", "worse"]


@dataclass(frozen=True)
class ConfigurationCost:
    """Cost of a configuration.

    Attributes:
        parameters: number of weights.
        seconds: mean training time. It depends on the machine and its load, so it is shown but
            never decides.
        gflops: work of one forward pass of one image; None: not recorded.
    """

    parameters: int
    seconds: float
    gflops: float | None = None


@dataclass(frozen=True)
class RankedConfiguration:
    """One configuration of a ranking.

    Attributes:
        configuration: its name, as given.
        mean: mean over runs of the means over images; the ranking is by this value.
        interval: 95 % interval over seeds and images; None with one run or below 50 images.
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
    """Result of comparing all configurations over all their runs.

    Attributes:
        ranked: best first; equal means by name.
        winner: the configuration that is better than every other; None if there is none.
        tied: configurations not shown worse than the leader; the leader is the first of them.
        choice: the one with the best mean among the smallest of the tied ones
            (`smallest_configurations`).
        sentence: the decision in words; configuration names appear unchanged.
        needed_seeds: seeds per configuration to detect a lead of one point (0.01) over all others
            with a power of 80 %; None if no number of seeds suffices (more images are needed),
            with folds, with one run each, and below MIN_RANKING_IMAGES images.
        needed_images: images to detect a difference of one point between the two leading
            configurations with the same power; None if it cannot be estimated, as below
            MIN_RANKING_IMAGES images.
        sd_runs: pooled standard deviation of the run means within configurations; None if every
            configuration has one run.
        sd_freedom: degrees of freedom of `sd_runs`.
        images_error: part of the standard error that more seeds would not reduce; the largest
            over the comparisons with the leader.
        n_images: number of images in the comparison.
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
        """Seeds per configuration to detect a lead of `difference` over all others.

        Returns:
            None with one run each, below MIN_RANKING_IMAGES images (their part of the error is
            unknown), and if no number of seeds suffices.
        """
        # The images' part of the error is a variance over images:
        # from a few it is too uncertain to plan with.
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
    """The smallest configurations, in the given order.

    Those with at most 5 % more parameters than the one with the fewest, and among them those with
    at most 5 % more GFLOPs than the one with the fewest. If GFLOPs are missing for any of them,
    only parameters decide. Configurations without a cost count as larger than all others.
    """
    parameters = {name: costs[name].parameters for name in names if name in costs}
    if not parameters:
        return tuple(names)
    # Seconds are no criterion: between equally large configurations they would decide by the load
    # of the machine (docs/decisions/0022-verdicts-need-a-confirmation.md).
    limit = (1 + SAME_SIZE) * min(parameters.values())
    candidates = [name for name in names if name in parameters and parameters[name] <= limit]
    candidate_gflops = [costs[name].gflops for name in candidates]
    recorded_gflops = [gflops for gflops in candidate_gflops if gflops is not None]
    # A missing value says nothing about the work, so
    # comparing only the recorded ones would be unfair.
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
    """Describe the winner, or the tied configurations and the choice among them."""
    text = _describe_ranking(ranked, comparisons, tied, choice, costs, folds)
    if len(ranked) > 1 and n_images < MIN_RANKING_IMAGES:
        images = count(n_images, "validation image")
        text += (
            f" The comparison is based on {images}; below {MIN_RANKING_IMAGES} images chance is "
            "too large for a reliable ranking."
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
        return f"{leader} is the only configuration, so there is no comparison."
    if ranked[0].verdict == "better":
        rival = ranked[1].configuration
        comparison = comparisons[rival]
        return (
            f"{leader} is better than every other configuration: {abs(comparison.value):.4f} "
            f"ahead of {rival}, the next (p = {comparison.p:.2g}, two-sided, {_run_kind(folds)}s "
            "and images random)."
        )
    text = f"{_join_names(tied)} are tied: no test shows a difference between them"
    # One run each: no error can be estimated, so every p is 1 and nothing can be shown.
    if all(row.sd_runs is None for row in ranked):
        text += f", as each has only one {_run_kind(folds)}"
    if len(tied) < len(ranked):
        worse = [row.configuration for row in ranked if row.configuration not in tied]
        text += f"; worse than {leader}: {', '.join(worse)}"
    candidates = smallest_configurations(tied, costs)
    if len(candidates) == 1:
        return (
            f"{text}. The smallest of the tied ones is {choice}{_describe_size(costs.get(choice))}."
        )
    candidates_text = (
        "all have the same size"
        if len(candidates) == len(tied)
        else f"{_join_names(candidates)} are the smallest"
    )
    size = _describe_size(costs.get(choice))
    return (
        f"{text}. Among the tied ones, {candidates_text}, and {choice}{size} has the best mean of "
        "these."
    )


def _run_kind(folds: bool) -> str:
    return "fold" if folds else "seed"


def _join_names(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _describe_size(cost: ConfigurationCost | None) -> str:
    if cost is None:
        return ""
    work = "" if cost.gflops is None else f", {cost.gflops:.3g} GFLOPs"
    return f" ({cost.parameters / 1e6:.2f} M parameters{work})"
