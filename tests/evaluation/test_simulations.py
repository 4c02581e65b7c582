"""Made-up studies whose truth is known: how often is what we say wrong, how often is it found?

Sizes, in Dice loss: standard deviation over seeds 0.0127, over images 0.15 (skewed),
of images by configuration 0.03, left over 0.05; 120 validation images.
"""

import numpy as np
import pytest

from harness.evaluation.configurations import Decision, decide, optimism
from harness.evaluation.differences import estimate
from harness.evaluation.two_level import two_level_interval
from tests.evaluation.simulated import SEED, Floats, frame, losses

pytestmark = pytest.mark.slow

N_SEARCHED, TOP, SEEDS = 12, 5, 3


def decided(values: Floats, *, folds: bool = False) -> Decision:
    return decide(frame(values, folds=folds), minimized=True, costs={}, resamples=50)


def searched_and_confirmed(seed: int, means: Floats, top: int = TOP) -> tuple[Floats, Floats]:
    """The searched values of the best configurations, best first, and their confirming runs."""
    drawn = losses(np.random.default_rng(seed), means, 1 + SEEDS)
    searched = drawn[:, 0].mean(axis=1)
    best = np.argsort(searched)[:top]
    return searched[best], drawn[best, 1:]


def test_of_400_null_studies_at_most_30_call_one_better_or_another_worse() -> None:
    """12 equal configurations searched, the top five confirmed on three seeds each."""
    found = [
        decided(searched_and_confirmed(seed, np.full(N_SEARCHED, 0.15))[1]) for seed in range(400)
    ]
    assert sum(each.winner is not None for each in found) <= 30
    assert sum(len(each.tied) < TOP for each in found) <= 30


def test_of_200_null_studies_of_two_configurations_at_most_15_call_one_better() -> None:
    """With two there are no others to come between: here a winner is called most often."""
    found = [
        decided(losses(np.random.default_rng(seed), np.full(2, 0.15), SEEDS)) for seed in range(200)
    ]
    assert sum(each.winner is not None for each in found) <= 15


def test_of_200_null_studies_in_folds_at_most_15_call_one_better() -> None:
    """Five folds of 40 images; what their images have in common is no difference."""
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        parts = [losses(rng, np.full(2, 0.15), 1, 40) for _ in range(5)]
        found.append(decided(np.concatenate(parts, axis=1), folds=True))
    assert sum(each.winner is not None for each in found) <= 15


def test_three_points_are_found_with_the_seeds_the_report_asks_for() -> None:
    """A pilot of five on three seeds, one of them better by 0.03; then as many seeds as it asks."""
    means = np.array([0.15, 0.15, 0.12, 0.15, 0.15])
    n, right = 100, 0
    for seed in range(n):
        rng = np.random.default_rng(10_000 + seed)
        pilot = decided(losses(rng, means, SEEDS))
        asked = pilot.seeds_for(0.03)
        if asked is not None:
            right += decided(losses(rng, means, asked)).winner == "c2"
    assert right >= 0.8 * n


def test_optimism_of_the_searched_leader_has_the_right_sign() -> None:
    """400 searches of 40 configurations whose true losses spread as much as seeds do, 0.0127."""
    right = 0
    for seed in range(400):
        means = np.random.default_rng(20_000 + seed).normal(0.15, SEED, 40)
        searched, confirmed = searched_and_confirmed(seed, means, top=1)
        right += optimism(searched[0], float(confirmed[0].mean()), minimized=True) > 0
    assert right >= 360


def test_intervals_of_confirmed_means_hold_the_true_mean() -> None:
    """600 configurations on three seeds each, other images every time."""
    held = 0
    for seed in range(600):
        drawn = losses(np.random.default_rng(30_000 + seed), np.array([0.15]), SEEDS)[0]
        runs = tuple(drawn)
        found = two_level_interval(runs, estimate(runs, folds=False), folds=False, seed=seed)
        assert found is not None
        held += found.low <= 0.15 <= found.high
    assert 0.93 * 600 <= held <= 0.97 * 600
