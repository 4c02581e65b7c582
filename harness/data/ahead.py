"""Making batches ahead of whoever trains on them, on as many threads as it takes."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

WAITING = 0.05  # share of the time that the trainer may spend waiting
GAIN = 1.05  # times as fast, at least, for one thread more to stay
PROBE = 8  # items that are timed before anything is changed
MOST_THREADS = 8


def cores() -> int:
    """How many threads this process may keep busy: OMP_NUM_THREADS, where workers share cores."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Ahead:
    """Makes items in order before they are asked for; begins with one thread.

    Where the taker waits, one more is tried for a few items, and kept if items then come faster:
    what is best depends on the device, the cores, the size and the augmentation, so it is measured.

    Args:
        most: threads.
        clock: monotonic seconds.

    Attributes:
        threads: how many make items now.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.threads = 1
        self._most, self._clock = max(1, min(most, MOST_THREADS)), clock
        self._before: float | None = (
            None  # seconds per item with one thread less, while one is tried
        )
        self._settled = self._most == 1
        self._timed, self._waited, self._seconds = 0, 0.0, 0.0  # since it was judged last

    def items(self, make: Callable[[int], T], count: int) -> Iterator[T]:
        """make(0), make(1), … make(count - 1)."""
        waiting: deque[Future[T]] = deque()
        begun = 0
        with ThreadPoolExecutor(self._most, thread_name_prefix="ahead") as pool:
            for k in range(count):
                since = self._clock()
                if not waiting:
                    waiting.append(pool.submit(make, begun))
                    begun += 1
                asked = self._clock()
                item = waiting.popleft().result()
                waited = self._clock() - asked
                while begun < count and len(waiting) < self.threads:
                    waiting.append(pool.submit(make, begun))
                    begun += 1
                yield item
                if k:  # the first one is always waited for
                    self._count(self._clock() - since, waited)

    def _count(self, seconds: float, waited: float) -> None:
        """Count an item; in short epochs those of several are judged together."""
        self._timed += 1
        self._seconds, self._waited = self._seconds + seconds, self._waited + waited
        if self._timed == PROBE:
            if not self._settled:
                self._judge(self._seconds, self._waited)
            self._timed, self._waited, self._seconds = 0, 0.0, 0.0

    def _judge(self, seconds: float, waited: float) -> None:
        """Keep, add or take away a thread, after PROBE items took so long."""
        if self._before is not None and seconds * GAIN > self._before:
            self.threads -= 1  # it did not help
            self._settled = True
        elif waited > WAITING * seconds and self.threads < self._most:
            self._before = seconds
            self.threads += 1
        else:
            self._before = None
