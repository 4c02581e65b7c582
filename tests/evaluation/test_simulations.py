"""Made-up studies whose truth is known: how often is what we say wrong, how often is it found?

Sizes, in Dice loss: standard deviation over seeds 0.0127, over images 0.15 (skewed),
of images by configuration 0.03, left over 0.05; 120 validation images.
"""

import numpy as np
import pytest

from harness.evaluation.statistics.intervals import mean_interval, two_level_interval
from harness.evaluation.statistics.pseudo_values import difference_shares, pseudo_values
from harness.evaluation.statistics.ranking import (
    RankingDecision,
    rank_configurations,
    search_optimism,
)
from harness.evaluation.statistics.variance_components import estimate_mean
from tests.evaluation.simulated import (
    CLASSES_MEAN,
    SEED,
    Floats,
    class_losses,
    class_values,
    frame,
    having,
    losses,
)

pytestmark = pytest.mark.slow

N_SEARCHED, TOP, SEEDS = 12, 5, 3


def decided(values: Floats, *, folds: bool = False) -> RankingDecision:
    return rank_configurations(frame(values, folds=folds), minimized=True, costs={}, resamples=50)


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
        right += search_optimism(searched[0], float(confirmed[0].mean()), minimized=True) > 0
    assert right >= 360


def test_intervals_of_confirmed_means_hold_the_true_mean() -> None:
    """600 configurations on three seeds each, other images every time."""
    held = 0
    for seed in range(600):
        drawn = losses(np.random.default_rng(30_000 + seed), np.array([0.15]), SEEDS)[0]
        runs = tuple(drawn)
        found = two_level_interval(runs, estimate_mean(runs, folds=False), folds=False, seed=seed)
        assert found is not None
        held += found.low <= 0.15 <= found.high
    assert 0.93 * 600 <= held <= 0.97 * 600


@pytest.mark.parametrize(
    ("n_images", "every", "correlation"),
    [(120, 6, 0.5), (120, 12, 0.0), (60, 6, 0.5), (60, 12, 0.0), (300, 6, 0.0), (300, 12, 0.5)],
)
def test_intervals_of_several_classes_hold_the_objective(
    n_images: int, every: int, correlation: float
) -> None:
    """2,000 sets with three classes, one in every 6th or 12th image, of which it holds the mean."""
    n_sets = 2000
    rng = np.random.default_rng([n_images, every])
    counts, held = having(n_images, every), 0
    for k, values in enumerate(class_values(rng, n_sets, n_images, correlation)):
        found = mean_interval(pseudo_values(values * counts, counts), seed=k)
        assert found is not None
        held += found.low <= CLASSES_MEAN <= found.high
    assert 0.93 <= held / n_sets <= 0.97


@pytest.mark.parametrize("n_configurations", [2, 5])
@pytest.mark.parametrize(("n_images", "every"), [(120, 6), (60, 12)])
def test_of_400_null_studies_of_several_classes_at_most_20_call_one_better(
    n_configurations: int, n_images: int, every: int
) -> None:
    """On three seeds each; the rare class is in 20 or in 5 images."""
    found = []
    for seed in range(400):
        rng = np.random.default_rng([seed, n_images, every])
        found.append(decided(class_losses(rng, n_configurations, SEEDS, n_images, every)))
    assert sum(each.winner is not None for each in found) <= 20
    assert sum(len(each.tied) < n_configurations for each in found) <= 20


@pytest.mark.parametrize("every", [6, 12])
def test_paired_tests_of_several_classes_find_a_difference_in_5_of_100_where_there_is_none(
    every: int,
) -> None:
    """1,000 pairs of equal networks on 60 images; the rare class, three times as variable, in few.

    Only 2,000 signs are drawn here, the same for all pairs; `compare_images` flips these shares.
    """
    rng, counts = np.random.default_rng(every), having(60, every)
    signs = rng.choice([-1.0, 1.0], (2000, 60))
    found = 0
    for one, other in class_values(rng, 2000, 60, 0.5).reshape(1000, 2, 60, 3):
        shares = difference_shares((one * counts, counts), (other * counts, counts))
        extreme = np.abs(signs @ shares) >= abs(shares.sum()) - 1e-12
        found += extreme.mean() <= 0.05
    assert 0.03 * 1000 <= found <= 0.07 * 1000
