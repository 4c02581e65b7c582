"""Which configurations are really better: statements from several runs of each, seeds or folds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from harness.data_config import MIN_RANKING_IMAGES
from harness.evaluation.arranged import Arranged, arrange
from harness.evaluation.differences import Estimate, estimate, pooled
from harness.evaluation.intervals import MIN_IMAGES, Interval
from harness.evaluation.needed import ONE_POINT, needed_images
from harness.evaluation.sentences import sentence
from harness.evaluation.two_level import RESAMPLES, two_level_interval
from harness.evaluation.verdicts import Cost, Decision, Ranked, Verdict, smallest

__all__ = ["Cost", "Decision", "Ranked", "decide", "optimism"]

LEVEL = 0.05


def decide(
    scores: pd.DataFrame,
    *,
    minimized: bool,
    costs: Mapping[str, Cost],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Decision:
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
    arranged = arrange(scores)
    spread = pooled(arranged.runs.values())
    single = {name: estimate(runs, folds=arranged.folds) for name, runs in arranged.runs.items()}
    sign = 1.0 if minimized else -1.0
    order = sorted(single, key=lambda name: (sign * single[name].value, name))
    against = {
        name: estimate(
            arranged.runs[name], arranged.runs[order[0]], folds=arranged.folds, others=spread
        )
        for name in order[1:]
    }
    winner = order[0] if against and all(e.p <= LEVEL for e in against.values()) else None
    worse = {name for name in against if winner or _worse(against[name], len(order))}
    tied = tuple(name for name in order if name not in worse)
    choice = smallest(tied, costs)[0]  # in order of their means
    ranked = tuple(
        _ranked(arranged, name, single[name], _verdict(name, winner, worse), resamples, seed)
        for name in order
    )
    sd_runs = None if spread is None else math.sqrt(spread.variance)
    found = Decision(
        ranked=ranked,
        winner=winner,
        tied=tied,
        choice=choice,
        sentence=sentence(
            ranked,
            against,
            tied,
            choice,
            costs,
            folds=arranged.folds,
            n_images=arranged.n_images,
        ),
        needed_seeds=None,
        needed_images=_needed_images(arranged, order),
        sd_runs=sd_runs,
        sd_freedom=0 if spread is None else spread.freedom,
        images_error=max((e.images_error for e in against.values()), default=0.0),
        n_images=arranged.n_images,
    )
    return found if arranged.folds else replace(found, needed_seeds=found.seeds_for(ONE_POINT))


def optimism(searched: float, confirmed: float, *, minimized: bool) -> float:
    """How much better the search made a configuration look than its confirmed mean is.

    Positive: the search was too optimistic, as it is bound to be for the best of many, each seen
    once. In the unit of the objective.
    """
    return confirmed - searched if minimized else searched - confirmed


def _worse(found: Estimate, n: int) -> bool:
    """Tukey's studentised range with an error of this pair (Games & Howell)."""
    if not math.isfinite(found.t):
        return True
    if found.p > LEVEL:  # the range is the stricter of the two, and its integral slow
        return False
    # beyond this the chance is 0 in double precision, and its integral does not converge
    q = min(found.t * math.sqrt(2), 1e3)
    return bool(stats.studentized_range.sf(q, n, found.freedom) <= LEVEL)


def _verdict(name: str, winner: str | None, worse: set[str]) -> Verdict:
    if name == winner:
        return "better"
    return "worse" if name in worse else "tied"


def _ranked(
    arranged: Arranged,
    name: str,
    found: Estimate,
    verdict: Verdict,
    resamples: int,
    seed: int,
) -> Ranked:
    runs = arranged.runs[name]
    interval: Interval | None = None
    if arranged.n_images >= MIN_IMAGES:
        interval = two_level_interval(
            runs, found, folds=arranged.folds, resamples=resamples, seed=seed
        )
    means = [float(run.mean()) for run in runs]
    deviation = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return Ranked(name, found.value, interval, deviation, verdict)


def _needed_images(arranged: Arranged, order: Sequence[str]) -> int | None:
    """For the two that lead: by the spread over images of the difference of their means."""
    if len(order) < 2 or arranged.n_images < MIN_RANKING_IMAGES:
        return None
    first, second = (arranged.image_means(name) for name in order[:2])
    return needed_images(float(np.std(first - second, ddof=1)), ONE_POINT)
