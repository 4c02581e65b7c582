"""How a study stops: it notices the reason, asks its workers to save, and waits until they have."""

from collections.abc import Callable, Iterable

from harness.core import files
from harness.core.paths import TrialPaths
from harness.search.run.stop_conditions import StopConditions, StopReason

MAX_EXTENSION = (
    10  # times `limits.stop_s`: a disk that never takes a checkpoint must not hold the study
)


class GracefulStop:
    """The reason to stop that was found, and the time that running trials get for it.

    Args:
        stop_conditions: what may end the study early.
        stop_s: seconds for workers to finish a step and save, `limits.stop_s`.
        clock: monotonic seconds.

    Attributes:
        stop: the reason; None: there is none yet.
    """

    def __init__(
        self, stop_conditions: StopConditions, stop_s: float, clock: Callable[[], float]
    ) -> None:
        self._stop_conditions, self._stop_s, self._clock = stop_conditions, stop_s, clock
        self.stop: StopReason | None = None
        self._started_at = 0.0

    @property
    def is_stopping(self) -> bool:
        """Whether running trials were asked to stop."""
        return self.stop is not None and self.stop.interrupts_trials

    def check(self) -> StopReason | None:
        """A reason to stop that was not known before, more pressing than the one that was."""
        if self.is_stopping:
            return None
        stop = self._stop_conditions.check()
        if stop is None or (self.stop is not None and not stop.interrupts_trials):
            return None
        self.stop, self._started_at = stop, self._clock()
        return stop

    def is_over(self, trials: Iterable[TrialPaths]) -> bool:
        """Whether the workers of these trials have had their time.

        While the checkpoint of one is being written they get more, up to ten times as much: a
        network of 25 million parameters is half a gigabyte, and the disk may be busy.
        """
        if not self.is_stopping:
            return False
        elapsed_s = self._clock() - self._started_at
        if elapsed_s <= self._stop_s:
            return False
        saves = any(files.has_pending_write(trial.checkpoint) for trial in trials)
        return not saves or elapsed_s > MAX_EXTENSION * self._stop_s
