import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from typing import Any

import numpy as np
import pytest

from harness.data.loading.augment import build_augmentation
from harness.data.loading.batches import (
    PROBE_ITEMS,
    Prefetcher,
    TrainBatches,
    subset_indices,
)
from tests.data.make import picture, square


def batches(n: int = 7, size: int = 3, augment: str = "none", seed: int = 0) -> TrainBatches:
    """Image i is filled with the value i, so that batches show what is in them."""
    images = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    return TrainBatches(
        images, images[..., 0] % 2, range(n), size, build_augmentation(augment), seed
    )


def contents(made: TrainBatches, epoch: int) -> list[list[int]]:
    return [images[:, 0, 0, 0].tolist() for images, _ in made.epoch(epoch)]


@pytest.mark.parametrize(
    ("n", "size", "steps", "shown"),
    [(6, 3, 2, 6), (8, 3, 3, 8), (7, 3, 2, 6), (1, 3, 1, 1), (3, 1, 3, 3), (2, 8, 1, 2)],
)
def test_last_batch_of_one_is_dropped_unless_alone(
    n: int, size: int, steps: int, shown: int
) -> None:
    made = batches(n, size)
    seen = contents(made, 1)
    assert len(made) == len(seen) == steps
    assert sum(len(batch) for batch in seen) == shown
    assert len({image for batch in seen for image in batch}) == shown


def test_order_follows_from_seed_and_epoch_alone() -> None:
    one, other = batches(), batches()
    first = contents(one, 1)
    assert contents(one, 2) != first
    assert contents(other, 2) == contents(one, 2)
    assert contents(one, 1) == first
    assert contents(batches(seed=1), 1) != first


def test_masks_belong_to_their_images() -> None:
    for images, masks in batches(8, 3).epoch(1):
        np.testing.assert_array_equal(images[..., 0] % 2, masks)


def test_augmentation_follows_from_seed_epoch_and_image() -> None:
    """The same image in another batch size is changed the same way; in another epoch not."""
    images = np.stack([picture(i, 32, 32) for i in range(6)])
    masks = np.stack([square(32, 32)] * 6)

    def changed(size: int, epoch: int) -> set[bytes]:
        made = TrainBatches(images, masks, range(6), size, build_augmentation("medium"), 5)
        return {image.tobytes() for batch, _ in made.epoch(epoch) for image in batch}

    assert changed(2, 1) == changed(3, 1)
    assert len(changed(2, 1) & changed(2, 2)) <= 1


def test_batches_are_writable_and_leave_the_images_alone() -> None:
    images = np.zeros((4, 8, 8, 3), np.uint8)
    images.flags.writeable = False
    made = TrainBatches(images, images[..., 0], range(4), 2, build_augmentation("none"), 0)
    for batch, mask in made.epoch(1):
        batch += 1
        mask += 1
    assert images.sum() == 0


def test_leaving_an_epoch_early_ends_its_thread() -> None:
    before = threading.active_count()
    running = batches(20, 2).epoch(1)
    next(running)
    assert threading.active_count() == before + 1
    running.close()
    assert threading.active_count() == before


def test_an_error_while_preparing_reaches_the_caller() -> None:
    made = TrainBatches(
        np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), np.uint8), [5], 1, "none", 0
    )
    with pytest.raises(IndexError):
        list(made.epoch(1))


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        batches(0)


@pytest.mark.parametrize(("share", "n"), [(1.0, 10), (0.3, 3), (0.31, 4), (0.01, 1), (0.7, 7)])
def test_subset_has_the_asked_share_rounded_up(share: float, n: int) -> None:
    chosen = subset_indices(range(5, 15), share)
    assert len(chosen) == n
    assert set(chosen) <= set(range(5, 15)) and list(chosen) == sorted(chosen)


def test_subsets_are_nested_and_the_same_every_time() -> None:
    indices = np.arange(100)[::-1]
    sizes = [set(subset_indices(indices, share)) for share in (0.1, 0.2, 0.5, 1.0)]
    assert sizes[0] < sizes[1] < sizes[2] < sizes[3]
    assert set(subset_indices(range(100), 0.2)) == sizes[1]
    assert sizes[1] != set(range(20))


def test_16_bits_come_as_shares_of_the_declared_range() -> None:
    images = np.array([0, 1000, 3000, 5000], np.uint16)[:, None, None, None] * np.ones(
        (1, 4, 4, 5), np.uint16
    )
    masks = np.zeros((4, 4, 4), np.uint8)
    none = build_augmentation("none")
    made = TrainBatches(images, masks, range(4), 4, none, 0, value_range=(1000.0, 5000.0))
    ((shown, _),) = made.epoch(1)
    assert shown.dtype == np.float32 and shown.shape == (4, 4, 4, 5)
    assert sorted(shown[:, 0, 0, 0].tolist()) == [0.0, 0.0, 0.5, 1.0]  # below the range: its end


def _drawn(seed: int, epoch: int) -> list[bytes]:
    """The augmented images of one epoch of a trial, in the order of their names."""
    images = np.stack([picture(i, 32, 32) for i in range(6)])
    masks = np.stack([square(32, 32)] * 6)
    made = TrainBatches(images, masks, range(6), 2, build_augmentation("strong"), seed)
    return sorted(image.tobytes() for batch, _ in made.epoch(epoch) for image in batch)


def test_another_worker_repeats_a_trial_and_no_two_trials_or_epochs_share_a_picture() -> None:
    asked = [(seed, epoch) for seed in (1, 2) for epoch in (1, 2, 3)]
    here = [_drawn(*one) for one in asked]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as worker:
        there = [worker.submit(_drawn, *one).result() for one in asked]
    assert here == there
    pictures = [one for epoch in here for one in epoch]
    assert len(set(pictures)) == len(pictures) == 36


def half(size: int = 32) -> tuple[Any, Any]:
    """Eight images whose content, of values 100 to 255, is the upper half; and their boxes."""
    images = np.zeros((8, size, size, 3), np.uint8)
    upper = (8, size // 2, size, 3)
    images[:, : size // 2] = np.random.default_rng(2).integers(100, 256, upper, dtype=np.uint8)
    return images, np.array([[0, 0, size // 2, size]] * 8, np.int64)


def with_contents(augment: str, *, boxes: bool = True) -> tuple[TrainBatches, TrainBatches]:
    """The same batches, asked for contents and not."""
    images, where = half()
    one, other = (
        TrainBatches(
            images,
            images[..., 0] // 128,
            range(8),
            4,
            build_augmentation(augment),
            3,
            boxes=where if boxes else None,
        )
        for _ in range(2)
    )
    return one, other


def test_contents_follow_flips() -> None:
    """Of values from 100: where a pixel is 0, there is no content."""
    made, _ = with_contents("light")
    seen = [*made.epoch_with_contents(1), *made.epoch_with_contents(2)]
    flipped = 0
    for images, _, contents in seen:
        assert contents is not None and contents.dtype == np.bool_
        for image, content in zip(images, contents, strict=True):
            assert content.sum() == 32 * 16
            np.testing.assert_array_equal(content, (image > image[~content].max()).all(-1))
            flipped += not content[0, 0]
    assert 0 < flipped < 16


@pytest.mark.parametrize("augment", ["none", "light", "medium", "strong"])
def test_images_and_masks_are_the_same_whether_contents_are_asked_for_or_not(augment: str) -> None:
    for one, other in zip(
        with_contents(augment)[0].epoch_with_contents(1),
        with_contents(augment, boxes=False)[1].epoch(1),
        strict=True,
    ):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_what_augmentation_fills_in_is_no_content() -> None:
    """Turned images without padding have black corners, of which there are none before."""
    images = np.full((8, 32, 32, 3), 200, np.uint8)
    boxes = np.array([[0, 0, 32, 32]] * 8, np.int64)
    made = TrainBatches(
        images, images[..., 0] // 255, range(8), 8, build_augmentation("medium"), 3, boxes=boxes
    )
    ((changed, _, contents),) = made.epoch_with_contents(1)
    assert contents is not None and not contents.all()
    assert (changed[contents] > 60).all(), "but for the blend of one pixel at the edge"
    assert (changed[~contents] < 160).all()


def test_contents_are_none_where_all_is_content_or_nobody_asks() -> None:
    images, _ = half()
    whole = np.array([[0, 0, 32, 32]] * 8, np.int64)
    for boxes in (None, whole):
        made = TrainBatches(
            images, images[..., 0] // 128, range(8), 4, build_augmentation("light"), 3, boxes=boxes
        )
        assert [contents for _, _, contents in made.epoch_with_contents(1)] == [None, None]


SLOW_S = 0.02


def slowly(at_once: int) -> Callable[[int], int]:
    """Takes a while for each item; so many of them at a time, as what needs a core each."""
    places = threading.Semaphore(at_once)

    def make(k: int) -> int:
        with places:
            time.sleep(SLOW_S)
        return k

    return make


@pytest.mark.parametrize("count", [0, 1, 2, 5 * PROBE_ITEMS])
def test_items_come_in_order_each_once(count: int) -> None:
    assert list(Prefetcher(4).prefetch(lambda k: k, count)) == list(range(count))


def test_threads_are_added_while_the_taker_waits() -> None:
    ahead = Prefetcher(3)
    assert list(ahead.prefetch(slowly(9), 1 + 6 * PROBE_ITEMS)) == list(range(1 + 6 * PROBE_ITEMS))
    assert ahead.threads == 3


@pytest.mark.parametrize(("steps", "epochs"), [(2, 8), (3, 4), (5, 2), (8, 2)])
def test_items_of_short_epochs_are_judged_together(steps: int, epochs: int) -> None:
    """By a clock that ticks at each look: a third of the time is waited for.

    All items but the first of an epoch are timed; after PROBE of them a thread is added.
    """
    ahead = Prefetcher(4, clock=count().__next__)
    for epoch in range(1, epochs + 1):
        assert ahead.threads == 1, epoch
        assert list(ahead.prefetch(lambda k: k, steps)) == list(range(steps))
    assert ahead.threads == 2


def test_epochs_of_one_item_add_no_thread() -> None:
    """It is always waited for, and there is no other one to make meanwhile."""
    ahead = Prefetcher(4, clock=count().__next__)
    for _ in range(3 * PROBE_ITEMS):
        list(ahead.prefetch(lambda k: k, 1))
    assert ahead.threads == 1


def test_thread_that_brings_nothing_is_taken_away_again() -> None:
    ahead = Prefetcher(3)
    list(ahead.prefetch(slowly(1), 1 + 4 * PROBE_ITEMS))
    assert ahead.threads == 1


def test_one_thread_stays_where_nobody_waits() -> None:
    ahead = Prefetcher(3)
    for _ in ahead.prefetch(lambda k: k, 1 + 3 * PROBE_ITEMS):
        time.sleep(SLOW_S)
    assert ahead.threads == 1


def test_what_goes_wrong_is_raised_where_the_item_is_taken() -> None:
    def make(k: int) -> int:
        return 1 // (2 - k)

    taken = []
    with pytest.raises(ZeroDivisionError):
        taken += [*Prefetcher(2).prefetch(make, 4)]
    items = Prefetcher(2).prefetch(make, 4)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_batches_are_the_same_on_any_number_of_threads() -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    masks = generator.integers(0, 2, (40, 32, 32), dtype=np.uint8)

    def epoch(threads: int) -> list[bytes]:
        batches = TrainBatches(
            images, masks, np.arange(40), 4, build_augmentation("strong"), seed=1
        )
        batches._prefetcher = Prefetcher(threads)
        batches._prefetcher.threads = threads
        return [part.tobytes() for batch in batches.epoch(2) for part in batch]

    assert epoch(1) == epoch(4)
