"""Events of the workers in order, and the trials whose workers have sent none for too long."""

from collections import deque
from collections.abc import Mapping

from harness.execution.protocol import Event, Executor
from harness.search.trials import Running
from harness.search.watch import HangWatch

TICK_S = 0.5  # a signal that arrives while no event does is noticed after so long


class Inbox:
    """Reads the events of an executor, and checks by the clock for workers that hang.

    Args:
        executor: who trains.
        running: the trials that are being trained, by number.
        watch: knows when each of them was heard last.
    """

    def __init__(
        self, executor: Executor, running: Mapping[int, Running], watch: HangWatch
    ) -> None:
        self._executor, self._running, self._watch = executor, running, watch
        self._read: deque[Event] = deque()

    def next(self) -> Event | None:
        """The next event; None if none comes within a tick."""
        return self._read.popleft() if self._read else self._executor.next_event(TICK_S)

    def is_current(self, event: Event) -> bool:
        """Whether it comes from the present attempt at a trial, not from a worker of an earlier."""
        running = self._running.get(event.number)
        return running is not None and event.attempt == running.record.attempt

    def silent(self) -> dict[int, float]:
        """Trials whose workers have been silent for too long: number -> seconds.

        Checked after every event: where other workers report often, a tick never passes without
        one. An event that arrived while the controller was busy is a sign of life too, so that the
        executor's queue is read before anybody is called silent.
        """
        if not self._watch.silent():
            return {}
        while (event := self._executor.next_event(0.0)) is not None:
            self._read.append(event)
            if self.is_current(event):
                self._watch.heard(event.number)
        return self._watch.silent()
