"""Who has been silent for too long."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

EPOCHS = 10  # median epochs of silence
FIRST = 10  # times as long before the first report: the first epoch compiles, tunes, fills caches
RECENT = 100  # epochs that the median is over


@dataclass
class _Attempt:
    heard: float  # by the clock
    reported: bool = False


@dataclass
class HangWatch:
    """Watches the attempts that are being trained.

    One hangs that has been silent for ten median epochs, but at least `floor_s`; ten times as long
    until it has reported its first epoch. The median is over the study's last 100 epochs, or those
    of the trial itself where they are slower.

    Args:
        floor_s: seconds that are never too long.
        clock: monotonic seconds.
    """

    floor_s: float
    clock: Callable[[], float] = time.monotonic
    _attempts: dict[int, _Attempt] = field(default_factory=dict)
    _study: list[float] = field(default_factory=list)
    _trials: dict[int, list[float]] = field(default_factory=dict)

    def begin(self, number: int) -> None:
        """An attempt at trial `number` begins."""
        self._attempts[number] = _Attempt(self.clock())

    def heard(self, number: int) -> None:
        """A sign of life from it, or a word to it that it was waiting for."""
        if number in self._attempts:
            self._attempts[number].heard = self.clock()

    def all_heard(self) -> None:
        """Nobody has listened for a while, so that silence says nothing."""
        for attempt in self._attempts.values():
            attempt.heard = self.clock()

    def epoch(self, number: int, seconds: float | None) -> None:
        """It has reported an epoch, which took so long."""
        if number in self._attempts:
            self._attempts[number].reported = True
        self.heard(number)
        if seconds is not None:
            for known in (self._study, self._trials.setdefault(number, [])):
                known.append(seconds)
                del known[:-RECENT]

    def end(self, number: int) -> None:
        """The trial has ended."""
        self._attempts.pop(number, None)
        self._trials.pop(number, None)

    def left_s(self) -> float | None:
        """Seconds until somebody may have to be called silent; None where nobody trains."""
        left = [self._due(number) - self.clock() for number in self._attempts]
        return max(0.0, min(left)) if left else None

    def silent(self) -> dict[int, float]:
        """Who has been silent for too long: trial number -> seconds."""
        now = self.clock()
        late = [number for number in self._attempts if self._due(number) <= now]
        return {number: now - self._attempts[number].heard for number in late}

    def _due(self, number: int) -> float:
        attempt = self._attempts[number]
        medians = [median(known) for known in (self._study, self._trials.get(number, [])) if known]
        limit_s = max(EPOCHS * max(medians, default=0.0), self.floor_s)
        return attempt.heard + (limit_s if attempt.reported else FIRST * limit_s)
