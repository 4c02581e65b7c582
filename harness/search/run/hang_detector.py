"""Who has been silent for too long."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from harness.search.run.observers import TrialObserver
from harness.search.run.trials import RunningTrial

SILENT_EPOCHS = 10  # median epochs of silence
FIRST_EPOCH_FACTOR = (
    10  # times as long before the first report: the first epoch compiles, tunes, fills caches
)
N_RECENT_EPOCHS = 100  # epochs that the median is over


@dataclass
class _AttemptActivity:
    last_heard: float  # by the clock
    reported: bool = False


@dataclass
class HangWatch(TrialObserver):
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
    _attempts: dict[int, _AttemptActivity] = field(default_factory=dict)
    _study_seconds: list[float] = field(default_factory=list)
    _trial_seconds: dict[int, list[float]] = field(default_factory=dict)

    def start_attempt(self, number: int) -> None:
        """An attempt at trial `number` begins."""
        self._attempts[number] = _AttemptActivity(self.clock())

    def record_activity(self, number: int) -> None:
        """A sign of life from it, or a word to it that it was waiting for."""
        if number in self._attempts:
            self._attempts[number].last_heard = self.clock()

    def reset_silence(self) -> None:
        """Nobody has listened for a while, so that silence says nothing."""
        for attempt in self._attempts.values():
            attempt.last_heard = self.clock()

    def record_epoch(self, number: int, seconds: float | None) -> None:
        """It has reported an epoch, which took so long."""
        if number in self._attempts:
            self._attempts[number].reported = True
        self.record_activity(number)
        if seconds is not None:
            for durations in (self._study_seconds, self._trial_seconds.setdefault(number, [])):
                durations.append(seconds)
                del durations[:-N_RECENT_EPOCHS]

    def end_trial(self, number: int) -> None:
        """The trial has ended."""
        self._attempts.pop(number, None)
        self._trial_seconds.pop(number, None)

    def epoch_finished(self, running: RunningTrial, metrics: dict[str, float]) -> None:
        self.record_epoch(running.record.number, metrics.get("seconds"))

    def trial_ended(self, running: RunningTrial) -> None:
        self.end_trial(running.record.number)

    def seconds_until_hang(self) -> float | None:
        """Seconds until somebody may have to be called silent; None where nobody trains."""
        remaining = [self._deadline(number) - self.clock() for number in self._attempts]
        return max(0.0, min(remaining)) if remaining else None

    def hung_trials(self) -> dict[int, float]:
        """Who has been silent for too long: trial number -> seconds."""
        now = self.clock()
        hung = [number for number in self._attempts if self._deadline(number) <= now]
        return {number: now - self._attempts[number].last_heard for number in hung}

    def _deadline(self, number: int) -> float:
        attempt = self._attempts[number]
        medians = [
            median(durations)
            for durations in (self._study_seconds, self._trial_seconds.get(number, []))
            if durations
        ]
        limit_s = max(SILENT_EPOCHS * max(medians, default=0.0), self.floor_s)
        return attempt.last_heard + (limit_s if attempt.reported else FIRST_EPOCH_FACTOR * limit_s)
