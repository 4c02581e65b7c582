"""The choice of clean-up steps on planes whose right answer is known."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.config.decision_rule import ClassDecision
from harness.evaluation.decision.cleanup_search import TruthObjects, choose_cleanup
from harness.evaluation.decision.object_tables import ImageObjects, tabulate_plane
from harness.evaluation.decision.step_effects import StepEffect

Bools = NDArray[np.bool_]
SIZE = 64
N = 60


def square(y: int, x: int, side: int) -> Bools:
    plane = np.zeros((SIZE, SIZE), np.bool_)
    plane[y : y + side, x : x + side] = True
    return plane


def choose(
    pairs: Sequence[tuple[Bools, Bools]], *, holes: bool = True
) -> tuple[ClassDecision, dict[str, StepEffect]]:
    """The entry and the effects by step, for pairs of (prediction, truth)."""
    truth, images = TruthObjects(), list[ImageObjects]()
    for predicted, y in pairs:
        truth.add(y)
        images.append(tabulate_plane(predicted, y, np.ones_like(y)))
    entry = ClassDecision(threshold=0.4)
    (chosen,), effects = choose_cleanup(images, [entry], [truth], ["disc"], holes=holes)
    assert chosen.threshold == 0.4
    assert [effect.is_kept for effect in effects] == [
        bool(getattr(chosen, effect.step)) for effect in effects
    ]
    return chosen, {effect.step: effect for effect in effects}


def cases(make: Callable[[np.random.Generator], tuple[Bools, Bools]]) -> list[tuple[Bools, Bools]]:
    rng = np.random.default_rng(0)
    return [make(rng) for _ in range(N)]


def two_objects(rng: np.random.Generator) -> Bools:
    """Two discs of 12 and 14 px side, so that `largest_only` is no candidate."""
    return square(2, 2 + int(rng.integers(4)), 12) | square(20, 4, 14)


def test_specks_choose_a_minimum_size() -> None:
    """Specks of 9 px beside objects of 144 px: 16 is the first power of two that removes them."""

    def make(rng: np.random.Generator) -> tuple[Bools, Bools]:
        y = two_objects(rng)
        return y | square(50, int(rng.integers(0, 40)), 3) | square(44, 50, 2), y

    entry, effects = choose(cases(make))
    assert (entry.fill_holes, entry.min_size, entry.largest_only) == (False, 16, False)
    effect = effects["min_size"]
    before = 2 * 340 / (340 + 353)
    assert (effect.value, effect.n) == (16, N)
    assert (effect.before, effect.after) == pytest.approx((before, 1.0))
    assert effect.low is not None and effect.low > 0
    assert effects["fill_holes"].gain == 0 and not effects["fill_holes"].is_kept
    assert "largest_only" not in effects


def test_holes_choose_their_filling() -> None:
    def make(rng: np.random.Generator) -> tuple[Bools, Bools]:
        y = two_objects(rng)
        return y & ~square(24, 8, 3), y

    entry, effects = choose(cases(make))
    assert (entry.fill_holes, entry.min_size) == (True, 0)
    assert effects["fill_holes"].after == 1.0
    assert choose(cases(make), holes=False)[0] == ClassDecision(threshold=0.4)


def test_true_holes_keep_it_off() -> None:
    def make(rng: np.random.Generator) -> tuple[Bools, Bools]:
        y = two_objects(rng) & ~square(24, 8, 3)
        return y, y

    entry, effects = choose(cases(make))
    assert not entry.cleans and effects["fill_holes"].gain < 0


def test_second_objects_choose_the_largest_alone() -> None:
    """False objects that are larger than a tenth of the true ones: no size tells them apart."""

    def make(rng: np.random.Generator) -> tuple[Bools, Bools]:
        side = int(rng.integers(8, 20))
        y = square(2, 2, side)
        return y | square(40, 40, side - 2), y

    entry, _ = choose(cases(make))
    assert entry.largest_only
    # One object in 20 may be lost: the bound is the fourth smallest of 60 areas.
    assert entry.min_size <= 81


def test_largest_only_is_no_candidate_where_images_have_several_objects() -> None:
    truth = TruthObjects()
    for n in [1] * 94 + [2] * 6:
        truth.add(square(2, 2, 5) | (square(30, 30, 5) if n == 2 else square(2, 2, 5)))
    assert not truth.allows_largest_only
    truth.numbers[-1] = 1
    assert truth.allows_largest_only


def test_the_minimum_size_spares_the_smallest_true_objects() -> None:
    """5 of 100 objects have 25 px: sizes up to 100 would be allowed, 6 of them allow only 25."""
    for n_small, largest in [(4, 100), (5, 100), (6, 25)]:
        truth = TruthObjects()
        for index in range(100):
            truth.add(square(2, 2, 5 if index < n_small else 10))
        assert truth.largest_min_size == largest, n_small
    assert TruthObjects().largest_min_size == 0


def test_specks_of_masks_saved_as_jpeg_do_not_limit_the_size() -> None:
    truth = TruthObjects()
    truth.add(square(2, 2, 10) | square(40, 40, 1))
    assert (truth.areas, truth.numbers) == ([100], [1])


def test_perfect_predictions_choose_nothing() -> None:
    entry, effects = choose(cases(lambda rng: (two_objects(rng),) * 2))
    assert not entry.cleans
    assert {effect.gain for effect in effects.values()} == {0.0}


def test_false_alarms_of_empty_images_count() -> None:
    """Half of the images are empty and have a speck; Dice over images with an object sees none."""

    def make(rng: np.random.Generator) -> tuple[Bools, Bools]:
        y = two_objects(rng)
        if rng.random() < 0.5:
            return square(int(rng.integers(40)), 30, 3), np.zeros_like(y)
        return y, y

    entry, effects = choose(cases(make))
    assert entry.min_size == 16
    assert effects["min_size"].after == 1.0


def test_few_images_choose_nothing() -> None:
    def make(rng: np.random.Generator) -> tuple[Bools, Bools]:
        y = two_objects(rng)
        return y | square(50, 4, 3), y

    entry, effects = choose(cases(make)[:49])
    assert not entry.cleans
    effect = effects["min_size"]
    assert effect.gain > 0 and effect.low is None and not effect.is_kept
    assert choose(cases(make)[:50])[0].min_size == 16
    assert choose([]) == (ClassDecision(threshold=0.4), {})


def test_a_gain_in_few_images_is_noise() -> None:
    """4 of 60 images have a speck: the bootstrap's interval excludes 0, the sign-flip test not."""
    pairs = cases(lambda rng: (two_objects(rng),) * 2)
    pairs = [(p | square(50, 4, 3), y) if k < 4 else (p, y) for k, (p, y) in enumerate(pairs)]
    entry, effects = choose(pairs)
    effect = effects["min_size"]
    assert effect.low is not None and effect.low > 0
    assert effect.p == pytest.approx(0.125, abs=0.02)
    assert not entry.cleans


def dice(predicted: Bools, y: Bools) -> float:
    return float(2 * (predicted & y).sum() / (predicted.sum() + y.sum()))


def null_image(rng: np.random.Generator, sides: Sequence[int] = (3,)) -> tuple[Bools, Bools]:
    """A speck that is a false alarm or the found part of a small true object.

    Removing it gains Dice if it is false and loses if it is true: 0 on average for this share.
    """
    disc, small, speck = square(2, 2, 20), square(45, 45, 12), square(45, 45, rng.choice(sides))
    gain = 1 - dice(disc | speck, disc)
    loss = dice(disc | speck, disc | small) - dice(disc, disc | small)
    return disc | speck, disc if rng.random() < loss / (gain + loss) else disc | small


def null_choices(repetitions: int, n: int = N, sides: Sequence[int] = (3,)) -> int:
    """Number of repetitions in which any step is kept."""
    n_cleaning = 0
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        n_cleaning += choose([null_image(rng, sides) for _ in range(n)])[0].cleans
    return n_cleaning


def test_steps_without_effect_are_mostly_off() -> None:
    assert null_choices(20) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("n", [60, 200])
@pytest.mark.parametrize("sides", [(3,), tuple(range(2, 10))])
def test_steps_without_effect_are_off_in_most_of_many_repetitions(
    n: int, sides: tuple[int, ...]
) -> None:
    """Specks of one size (of 4 to 81 px) in 60 or 200 images: at most 8 % accept a step."""
    n_cleaning = null_choices(300, n, sides)
    assert n_cleaning <= 24
