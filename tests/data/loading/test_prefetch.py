"""Items come in order whatever the number of threads, and that number follows what it brings."""

import threading
import time
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest

from harness.data.loading.augment import build_augmentation
from harness.data.loading.batches import TrainBatches
from harness.data.loading.prefetch import PROBE_ITEMS, Prefetcher, available_threads

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


def test_workers_that_share_cores_share_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert available_threads() == 3
    for nothing in ("", "0", "four"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert available_threads() >= 1
