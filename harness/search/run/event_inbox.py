"""Events of the workers in order, and the trials whose workers have sent none for too long."""

from collections import deque
from collections.abc import Mapping

from harness.execution.protocol import Event, Executor
from harness.search.run.hang_detector import HangWatch
from harness.search.run.trials import RunningTrial

TICK_S = 0.5  # a signal that arrives while no event does is noticed after so long


class EventInbox:
    """Reads the events of an executor, and checks by the clock for workers that hang.

    Args:
        executor: who trains.
        running: the trials that are being trained, by number.
        hang_watch: knows when each of them was heard last.
    """

    def __init__(
        self, executor: Executor, running: Mapping[int, RunningTrial], hang_watch: HangWatch
    ) -> None:
        self._executor, self._running, self._hang_watch = executor, running, hang_watch
        self._queued: deque[Event] = deque()

    def next_event(self) -> Event | None:
        """The next event; None if none comes within a tick."""
        return self._queued.popleft() if self._queued else self._executor.next_event(TICK_S)

    def is_current(self, event: Event) -> bool:
        """Whether it comes from the present attempt at a trial, not from a worker of an earlier."""
        running = self._running.get(event.number)
        return running is not None and event.attempt == running.record.attempt

    def hung_trials(self) -> dict[int, float]:
        """Trials whose workers have been silent for too long: number -> seconds.

        Checked after every event: where other workers report often, a tick never passes without
        one. An event that arrived while the controller was busy is a sign of life too, so that the
        executor's queue is read before anybody is called silent.
        """
        if not self._hang_watch.hung_trials():
            return {}
        while (event := self._executor.next_event(0.0)) is not None:
            self._queued.append(event)
            if self.is_current(event):
                self._hang_watch.record_activity(event.number)
        return self._hang_watch.hung_trials()
