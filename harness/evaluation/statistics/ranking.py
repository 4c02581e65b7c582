"""Which configurations are really better: statements from several runs of each, seeds or folds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from harness.config.data import MIN_RANKING_IMAGES
from harness.evaluation.statistics.alignment import AlignedScores, align_scores
from harness.evaluation.statistics.decisions import (
    ConfigurationCost,
    RankedConfiguration,
    RankingDecision,
    RankingVerdict,
    describe_decision,
    smallest_configurations,
)
from harness.evaluation.statistics.intervals import (
    MIN_IMAGES,
    RESAMPLES,
    ConfidenceInterval,
    two_level_interval,
)
from harness.evaluation.statistics.power import ONE_POINT, required_images
from harness.evaluation.statistics.variance_components import (
    MeanEstimate,
    estimate_mean,
    pool_variance,
)

__all__ = [
    "ConfigurationCost",
    "RankedConfiguration",
    "RankingDecision",
    "rank_configurations",
    "search_optimism",
]

SIGNIFICANCE_LEVEL = 0.05


def rank_configurations(
    scores: pd.DataFrame,
    *,
    minimized: bool,
    costs: Mapping[str, ConfigurationCost],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RankingDecision:
    """Rank configurations by their confirmed means, and say which of the differences are real.

    Two statements, each wrong in at most about 5 % of studies in which it could be. *Winner*: the
    leader differs from each other configuration in a two-sided test; that the leader was
    chosen by the same data needs no correction here. *Worse*, where there is no winner: a
    configuration differs from the leader by more than the largest difference among as many equal
    ones (studentised range). Everything that is not shown worse is tied. The errors of the
    differences hold seeds and images both as random (`differences.estimate`).

    Args:
        scores: columns configuration (str), run (int: seed or fold), image (str) and value (float,
            one per image, whose mean is the objective: `values.per_image`). Runs have the same
            images (seeds), or each its own, the same in every configuration (folds).
        minimized: whether lower values are better.
        costs: of each configuration; one that is missing is taken for the largest.
        resamples: how many of the bootstrap, which draws the intervals and decides nothing.
        seed: of the bootstrap.

    Raises:
        ValueError: a column is missing, an image occurs twice in a run, or runs share some
            images and differ in others.

    Source:
        Hung & Fithian 2019, "Rank verification for exponential families" (winner); Games & Howell
        1976 (worse).
    """
    aligned = align_scores(scores)
    run_variance = pool_variance(aligned.runs.values())
    estimates = {
        name: estimate_mean(runs, folds=aligned.folds) for name, runs in aligned.runs.items()
    }
    sign = 1.0 if minimized else -1.0
    order = sorted(estimates, key=lambda name: (sign * estimates[name].value, name))
    comparisons = {
        name: estimate_mean(
            aligned.runs[name],
            aligned.runs[order[0]],
            folds=aligned.folds,
            pooled_variance=run_variance,
        )
        for name in order[1:]
    }
    winner = (
        order[0]
        if comparisons and all(e.p <= SIGNIFICANCE_LEVEL for e in comparisons.values())
        else None
    )
    worse = {name for name in comparisons if winner or _is_worse(comparisons[name], len(order))}
    tied = tuple(name for name in order if name not in worse)
    choice = smallest_configurations(tied, costs)[0]  # in order of their means
    ranked = tuple(
        _rank_configuration(
            aligned, name, estimates[name], _assign_verdict(name, winner, worse), resamples, seed
        )
        for name in order
    )
    sd_runs = None if run_variance is None else math.sqrt(run_variance.variance)
    decision = RankingDecision(
        ranked=ranked,
        winner=winner,
        tied=tied,
        choice=choice,
        sentence=describe_decision(
            ranked,
            comparisons,
            tied,
            choice,
            costs,
            folds=aligned.folds,
            n_images=aligned.n_images,
        ),
        needed_seeds=None,
        needed_images=_required_images(aligned, order),
        sd_runs=sd_runs,
        sd_freedom=0 if run_variance is None else run_variance.freedom,
        images_error=max((e.images_error for e in comparisons.values()), default=0.0),
        n_images=aligned.n_images,
    )
    return (
        decision if aligned.folds else replace(decision, needed_seeds=decision.seeds_for(ONE_POINT))
    )


def search_optimism(searched: float, confirmed: float, *, minimized: bool) -> float:
    """How much better the search made a configuration look than its confirmed mean is.

    Positive: the search was too optimistic, as it is bound to be for the best of many, each seen
    once. In the unit of the objective.
    """
    return confirmed - searched if minimized else searched - confirmed


def _is_worse(comparison: MeanEstimate, n: int) -> bool:
    """Tukey's studentised range with an error of this pair (Games & Howell)."""
    if not math.isfinite(comparison.t):
        return True
    if (
        comparison.p > SIGNIFICANCE_LEVEL
    ):  # the range is the stricter of the two, and its integral slow
        return False
    # beyond this the chance is 0 in double precision, and its integral does not converge
    q = min(comparison.t * math.sqrt(2), 1e3)
    return bool(stats.studentized_range.sf(q, n, comparison.freedom) <= SIGNIFICANCE_LEVEL)


def _assign_verdict(name: str, winner: str | None, worse: set[str]) -> RankingVerdict:
    if name == winner:
        return "better"
    return "worse" if name in worse else "tied"


def _rank_configuration(
    aligned: AlignedScores,
    name: str,
    mean_estimate: MeanEstimate,
    verdict: RankingVerdict,
    resamples: int,
    seed: int,
) -> RankedConfiguration:
    runs = aligned.runs[name]
    interval: ConfidenceInterval | None = None
    if aligned.n_images >= MIN_IMAGES:
        interval = two_level_interval(
            runs, mean_estimate, folds=aligned.folds, resamples=resamples, seed=seed
        )
    means = [float(run.mean()) for run in runs]
    deviation = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return RankedConfiguration(name, mean_estimate.value, interval, deviation, verdict)


def _required_images(aligned: AlignedScores, order: Sequence[str]) -> int | None:
    """For the two that lead: by the spread over images of the difference of their means."""
    if len(order) < 2 or aligned.n_images < MIN_RANKING_IMAGES:
        return None
    first, second = (aligned.image_means(name) for name in order[:2])
    return required_images(float(np.std(first - second, ddof=1)), ONE_POINT)


def studentized_range_p(span: float, deviation: float, freedom: int, n: int) -> float:
    """The chance that the largest and smallest of n equal configurations differ by `span` or more.

    Args:
        span: largest minus smallest value.
        deviation: standard deviation of one value over seeds, above 0.
        freedom: degrees of freedom of that estimate.
        n: configurations with one value each, 2 or more.

    Source:
        Tukey's studentised range; scipy.stats.studentized_range.
    """
    # beyond these the chance does not change, or its integral does not converge
    q, max_n = min(span / deviation, 1e3), 1000
    return float(stats.studentized_range.sf(q, min(n, max_n), freedom))
