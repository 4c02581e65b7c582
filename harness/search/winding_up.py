"""How a study stops: it notices the reason, asks its workers to save, and waits until they have."""

from collections.abc import Callable, Iterable

from harness import files
from harness.paths import TrialPaths
from harness.search.stopping import Stop, Stops

LONGEST = 10  # times `limits.stop_s`: a disk that never takes a checkpoint must not hold the study


class WindingUp:
    """The reason to stop that was found, and the time that running trials get for it.

    Args:
        stops: what may end the study early.
        stop_s: seconds for workers to finish a step and save, `limits.stop_s`.
        clock: monotonic seconds.

    Attributes:
        stop: the reason; None: there is none yet.
    """

    def __init__(self, stops: Stops, stop_s: float, clock: Callable[[], float]) -> None:
        self._stops, self._stop_s, self._clock = stops, stop_s, clock
        self.stop: Stop | None = None
        self._begun = 0.0

    @property
    def begun(self) -> bool:
        """Whether running trials were asked to stop."""
        return self.stop is not None and self.stop.winds_up

    def look(self) -> Stop | None:
        """A reason to stop that was not known before, more pressing than the one that was."""
        if self.begun:
            return None
        stop = self._stops.look()
        if stop is None or (self.stop is not None and not stop.winds_up):
            return None
        self.stop, self._begun = stop, self._clock()
        return stop

    def is_over(self, trials: Iterable[TrialPaths]) -> bool:
        """Whether the workers of these trials have had their time.

        While the checkpoint of one is being written they get more, up to ten times as much: a
        network of 25 million parameters is half a gigabyte, and the disk may be busy.
        """
        if not self.begun:
            return False
        taken_s = self._clock() - self._begun
        if taken_s <= self._stop_s:
            return False
        saves = any(files.is_being_written(trial.checkpoint) for trial in trials)
        return not saves or taken_s > LONGEST * self._stop_s
