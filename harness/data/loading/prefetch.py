"""Making batches ahead of whoever trains on them, on as many threads as it takes."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

MAX_WAIT_SHARE = 0.05  # share of the time that the trainer may spend waiting
MIN_SPEEDUP = 1.05  # times as fast, at least, for one thread more to stay
PROBE_ITEMS = 8  # items that are timed before anything is changed
MAX_THREADS = 8


def available_threads() -> int:
    """How many threads this process may keep busy: OMP_NUM_THREADS, where workers share cores."""
    omp_threads = os.environ.get("OMP_NUM_THREADS", "")
    if omp_threads.isdecimal() and int(omp_threads) > 0:
        return int(omp_threads)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Prefetcher:
    """Makes items in order before they are asked for; begins with one thread.

    Where the taker waits, one more is tried for a few items, and kept if items then come faster:
    what is best depends on the device, the cores, the size and the augmentation, so it is measured.

    Args:
        max_threads: threads.
        clock: monotonic seconds.

    Attributes:
        threads: how many make items now.
    """

    def __init__(self, max_threads: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.threads = 1
        self._max_threads, self._clock = max(1, min(max_threads, MAX_THREADS)), clock
        self._previous_seconds: float | None = (
            None  # seconds per item with one thread less, while one is tried
        )
        self._is_tuned = self._max_threads == 1
        self._n_timed, self._waited, self._seconds = 0, 0.0, 0.0  # since it was judged last

    def prefetch(self, make: Callable[[int], T], count: int) -> Iterator[T]:
        """make(0), make(1), … make(count - 1)."""
        pending: deque[Future[T]] = deque()
        n_submitted = 0
        with ThreadPoolExecutor(self._max_threads, thread_name_prefix="ahead") as pool:
            for k in range(count):
                item_start = self._clock()
                if not pending:
                    pending.append(pool.submit(make, n_submitted))
                    n_submitted += 1
                wait_start = self._clock()
                item = pending.popleft().result()
                waited = self._clock() - wait_start
                while n_submitted < count and len(pending) < self.threads:
                    pending.append(pool.submit(make, n_submitted))
                    n_submitted += 1
                yield item
                if k:  # the first one is always waited for
                    self._record_timing(self._clock() - item_start, waited)

    def _record_timing(self, seconds: float, waited: float) -> None:
        """Count an item; in short epochs those of several are judged together."""
        self._n_timed += 1
        self._seconds, self._waited = self._seconds + seconds, self._waited + waited
        if self._n_timed == PROBE_ITEMS:
            if not self._is_tuned:
                self._adjust_threads(self._seconds, self._waited)
            self._n_timed, self._waited, self._seconds = 0, 0.0, 0.0

    def _adjust_threads(self, seconds: float, waited: float) -> None:
        """Keep, add or take away a thread, after PROBE items took so long."""
        if self._previous_seconds is not None and seconds * MIN_SPEEDUP > self._previous_seconds:
            self.threads -= 1  # it did not help
            self._is_tuned = True
        elif waited > MAX_WAIT_SHARE * seconds and self.threads < self._max_threads:
            self._previous_seconds = seconds
            self.threads += 1
        else:
            self._previous_seconds = None
