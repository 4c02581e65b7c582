"""Detection of workers that hang: they have reported nothing for too long."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from harness.search.run.observers import TrialObserver
from harness.search.run.running_trial import RunningTrial

SILENT_EPOCHS = 10  # times the median duration of an epoch
# The first epoch of an attempt compiles, tunes cuDNN and fills caches, and a new worker process
# imports torch before it.
FIRST_EPOCH_FACTOR = 10
N_RECENT_EPOCHS = 100  # epochs of which the median is taken


@dataclass
class _AttemptActivity:
    last_heard: float  # time of the last event, by the clock
    reported: bool = False


@dataclass
class HangWatch(TrialObserver):
    """Time limits for the attempts that are being trained.

    An attempt hangs if its worker has sent nothing for ten median epochs, but at least `floor_s`;
    the limit is ten times as long before its first epoch. The median is that of the study's last
    100 epochs, or of the trial's own epochs if these are slower.

    Args:
        floor_s: lower bound of the limit, in seconds.
        clock: monotonic seconds.
    """

    floor_s: float
    clock: Callable[[], float] = time.monotonic
    _attempts: dict[int, _AttemptActivity] = field(default_factory=dict)
    _study_seconds: list[float] = field(default_factory=list)
    _trial_seconds: dict[int, list[float]] = field(default_factory=dict)

    def start_attempt(self, number: int) -> None:
        """Start the time of an attempt at trial `number`."""
        self._attempts[number] = _AttemptActivity(self.clock())

    def record_activity(self, number: int) -> None:
        """Record an event of the trial's worker, or an answer that it was waiting for."""
        if number in self._attempts:
            self._attempts[number].last_heard = self.clock()

    def reset_silence(self) -> None:
        """Restart the time of all attempts, after the controller itself read no events."""
        for attempt in self._attempts.values():
            attempt.last_heard = self.clock()

    def record_epoch(self, number: int, seconds: float | None) -> None:
        """Record a reported epoch and its duration."""
        if number in self._attempts:
            self._attempts[number].reported = True
        self.record_activity(number)
        if seconds is not None:
            for durations in (self._study_seconds, self._trial_seconds.setdefault(number, [])):
                durations.append(seconds)
                del durations[:-N_RECENT_EPOCHS]

    def end_trial(self, number: int) -> None:
        """Forget a trial that has ended."""
        self._attempts.pop(number, None)
        self._trial_seconds.pop(number, None)

    def epoch_finished(self, running: RunningTrial, metrics: dict[str, float]) -> None:
        self.record_epoch(running.record.number, metrics.get("seconds"))

    def trial_ended(self, running: RunningTrial) -> None:
        self.end_trial(running.record.number)

    def seconds_until_hang(self) -> float | None:
        """Seconds until the next limit is reached; None while no trial is trained."""
        remaining = [self._deadline(number) - self.clock() for number in self._attempts]
        return max(0.0, min(remaining)) if remaining else None

    def hung_trials(self) -> dict[int, float]:
        """Trials whose workers have sent nothing for too long: number -> seconds."""
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
        # Medians, not means: one epoch that waited for a busy disk must not lengthen the limit. The
        # slower of the two: a study of small networks must not kill its one large network.
        limit_s = max(SILENT_EPOCHS * max(medians, default=0.0), self.floor_s)
        return attempt.last_heard + (limit_s if attempt.reported else FIRST_EPOCH_FACTOR * limit_s)
