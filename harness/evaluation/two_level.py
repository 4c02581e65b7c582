"""The interval of a configuration's mean: runs are drawn again, then images."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.evaluation.differences import Estimate, Runs
from harness.evaluation.intervals import Interval

Floats = NDArray[np.float64]

RESAMPLES = 2000


def two_level_interval(
    runs: Runs,
    found: Estimate,
    *,
    folds: bool,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Percentiles of the two-level bootstrap, stretched about the mean to the width of Student's t.

    Drawing three runs again from three cannot show how far a fourth may lie: the plain percentiles
    are too narrow. So the bootstrap gives the shape, and `found` (both kinds of chance, with its
    degrees of freedom) the width: the distances from the mean are multiplied by
    t · error / (z · standard deviation of the bootstrap).

    Args:
        runs: the values of each run's images.
        found: `estimate(runs)`.
        folds: whether the images differ between runs; else all runs get the same drawn images.
        level: of confidence.
        resamples: how many means are drawn.
        seed: of the draws.

    Returns:
        None for fewer than two runs.

    Source:
        Davison & Hinkley 1997, section 3.8 (two levels); Hesterberg 2015, section 5.3 (width).
    """
    if not math.isfinite(found.error):
        return None
    n = sum(len(run) for run in runs) if folds else len(runs[0])
    draws = _draws(runs, folds, resamples, np.random.default_rng(seed))
    spread = float(draws.std(ddof=1))
    tail = (1 - level) / 2
    half = float(stats.t.isf(tail, found.freedom)) * found.error
    if spread == 0:
        return Interval(found.value, found.value - half, found.value + half, n)
    stretch = half / (float(stats.norm.isf(tail)) * spread)
    low, high = (
        found.value + stretch * (float(end) - found.value)
        for end in np.quantile(draws, [tail, 1 - tail])
    )
    return Interval(found.value, low, high, n)


def _draws(runs: Runs, folds: bool, n_draws: int, rng: np.random.Generator) -> Floats:
    """`n_draws` means, each of runs and images drawn with replacement."""
    k = len(runs)
    which = rng.integers(0, k, (n_draws, k))
    if folds:
        each = np.stack([_image_means(run, (n_draws, k), rng) for run in runs])
        row, place = np.indices(which.shape)
        return np.asarray(each[which, row, place].mean(axis=1))
    n = len(runs[0])
    images = rng.integers(0, n, (n_draws, n))
    of_runs = np.stack([run[images].mean(axis=1) for run in runs], axis=1)
    return np.asarray(np.take_along_axis(of_runs, which, axis=1).mean(axis=1))


def _image_means(values: Floats, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    return np.asarray(values[rng.integers(0, len(values), (*shape, len(values)))].mean(axis=2))
