"""Rank configurations by several runs of each (seeds or folds) and test their differences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import scipy  # scipy.stats is imported at its first use

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
    PooledVariance,
    estimate_mean,
    pool_variance,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ConfigurationCost",
    "RankedConfiguration",
    "RankingDecision",
    "rank_configurations",
    "search_optimism",
]

SIGNIFICANCE_LEVEL = 0.05


def rank_configurations(
    scores: "pd.DataFrame",
    *,
    minimized: bool,
    costs: Mapping[str, ConfigurationCost],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RankingDecision:
    """Rank configurations by their confirmed means and test which differences are real.

    Two statements, each wrong in at most about 5 % of the studies in which it can be wrong.

    *Winner*: the leader differs from every other configuration in a two-sided t-test, p ≤ 0.05.
    The data that selected the leader also test it, which needs no correction here (Hung & Fithian).
    *Worse*, if there is no winner: a configuration differs from the leader by more than the
    studentised range of equally many equal configurations, t √2 > q(0.95; n, f), with the error
    of that pair (Games & Howell). All configurations not shown worse are tied. The errors treat
    both seeds and images as random (`variance_components.estimate_mean`).

    Args:
        scores: columns configuration (str), run (int: seed or fold), image (str) and value (float,
            one per image, whose mean is the objective: `image_values.per_image_values`). Runs have
            the same images (seeds), or each its own, the same in every configuration (folds).
        minimized: True if lower values are better.
        costs: cost by configuration; a configuration without one counts as the largest.
        resamples: resamples of the bootstrap, which gives the intervals and decides nothing.
        seed: seed of the bootstrap.

    Raises:
        ValueError: a column is missing, an image occurs twice in a run, or runs share only some
            of their images.

    Source:
        Hung & Fithian 2019, "Rank verification for exponential families" (winner); Games & Howell
        1976, "Pairwise multiple comparison procedures with unequal n's" (worse).
    """
    aligned = align_scores(scores)
    run_variance = pool_variance(aligned.runs.values())
    estimates = {
        name: estimate_mean(runs, folds=aligned.folds) for name, runs in aligned.runs.items()
    }
    sign = 1.0 if minimized else -1.0
    # Equal means go by name: otherwise the order of the input rows would choose the leader.
    order = sorted(estimates, key=lambda name: (sign * estimates[name].value, name))
    comparisons = _compare_with_leader(aligned, order, run_variance)
    winner, worse = _test_comparisons(order, comparisons)
    tied = tuple(name for name in order if name not in worse)
    choice = smallest_configurations(tied, costs)[0]  # the order of means is kept
    ranked = tuple(
        _rank_configuration(
            aligned, name, estimates[name], _assign_verdict(name, winner, worse), resamples, seed
        )
        for name in order
    )
    sentence = describe_decision(
        ranked, comparisons, tied, choice, costs, folds=aligned.folds, n_images=aligned.n_images
    )
    decision = RankingDecision(
        ranked=ranked,
        winner=winner,
        tied=tied,
        choice=choice,
        sentence=sentence,
        needed_seeds=None,
        needed_images=_required_images(aligned, order),
        sd_runs=None if run_variance is None else math.sqrt(run_variance.variance),
        sd_freedom=0 if run_variance is None else run_variance.freedom,
        images_error=max((e.images_error for e in comparisons.values()), default=0.0),
        n_images=aligned.n_images,
    )
    if aligned.folds:  # the corrected fold variance does not fall with more seeds
        return decision
    return replace(decision, needed_seeds=decision.seeds_for(ONE_POINT))


def search_optimism(searched: float, confirmed: float, *, minimized: bool) -> float:
    """Optimism of the search: the searched value minus the confirmed mean, in the better direction.

    Positive: the search was too optimistic, as it must be on average for the best of many trials
    that were each measured once (the winner's curse). In the unit of the objective.
    """
    return confirmed - searched if minimized else searched - confirmed


def _compare_with_leader(
    aligned: AlignedScores, order: Sequence[str], run_variance: PooledVariance | None
) -> dict[str, MeanEstimate]:
    """Difference of each configuration from the leader, best first."""
    leader = aligned.runs[order[0]]
    return {
        name: estimate_mean(
            aligned.runs[name], leader, folds=aligned.folds, pooled_variance=run_variance
        )
        for name in order[1:]
    }


def _test_comparisons(
    order: Sequence[str], comparisons: Mapping[str, MeanEstimate]
) -> tuple[str | None, set[str]]:
    """The winner, if there is one, and the configurations shown worse than the leader."""
    # Not corrected for the number of rivals: all tests must succeed, and a false winner is most
    # frequent with two equal configurations far ahead of the others (Hung & Fithian 2019).
    if comparisons and all(e.p <= SIGNIFICANCE_LEVEL for e in comparisons.values()):
        return order[0], set(comparisons)
    return None, {name for name, estimate in comparisons.items() if _is_worse(estimate, len(order))}


def _is_worse(comparison: MeanEstimate, n: int) -> bool:
    """True if the difference exceeds the studentised range of n equal configurations."""
    # An error of 0 with different means. Too few runs give an infinite error instead, and t = 0.
    if not math.isfinite(comparison.t):
        return True
    # The range test is stricter than this t-test, and its integral is slow: test t first.
    if comparison.p > SIGNIFICANCE_LEVEL:
        return False
    # √2: the range is scaled by the error of one mean, t by the error of a difference of two.
    p = studentized_range_p(comparison.t * math.sqrt(2), 1.0, comparison.freedom, n)
    return p <= SIGNIFICANCE_LEVEL


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
    """Images to separate the two leaders, from the spread of their difference over images."""
    if len(order) < 2 or aligned.n_images < MIN_RANKING_IMAGES:
        return None
    first, second = (aligned.image_means(name) for name in order[:2])
    # With seeds, the effect of a seed is the same for all images, so it drops out of this spread;
    # of the residual only the mean over runs remains.
    return required_images(float(np.std(first - second, ddof=1)), ONE_POINT)


def studentized_range_p(span: float, deviation: float, freedom: float, n: int) -> float:
    """Probability that the range of n equal configurations is `span` or more: P(Q ≥ span / s).

    Args:
        span: largest minus smallest value.
        deviation: standard deviation s of one value over seeds, above 0.
        freedom: degrees of freedom of s.
        n: configurations with one value each, 2 or more.

    Source:
        Tukey's studentised range; scipy.stats.studentized_range.
    """
    # scipy's double integral does not converge for larger q, where p is 0 in double precision; for
    # more than 1,000 configurations p hardly changes.
    q, max_n = min(span / deviation, 1e3), 1000
    return float(scipy.stats.studentized_range.sf(q, min(n, max_n), freedom))
