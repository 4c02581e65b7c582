"""Events of the workers in order, and the trials whose workers have sent none for too long.

Separate from the controller, so that the race between a late event and a hang is tested alone.
"""

from collections import deque
from collections.abc import Mapping

from harness.execution.protocol import Event, Executor
from harness.search.run.hang_detector import HangWatch
from harness.search.run.running_trial import RunningTrial

TICK_S = 0.5  # longest time until a signal is noticed while no event arrives


class EventInbox:
    """Reads the events of an executor, and finds workers that hang.

    Args:
        executor: trains the trials.
        running: the trials that are being trained, by number.
        hang_watch: records the time of each worker's last event.
    """

    def __init__(
        self, executor: Executor, running: Mapping[int, RunningTrial], hang_watch: HangWatch
    ) -> None:
        self._executor, self._running, self._hang_watch = executor, running, hang_watch
        self._queued: deque[Event] = deque()

    def next_event(self, *, wait: bool = True) -> Event | None:
        """The next event; None if no event arrives within a tick, or without a wait immediately."""
        if self._queued:
            return self._queued.popleft()
        return self._executor.next_event(TICK_S if wait else 0.0)

    def is_current(self, event: Event) -> bool:
        """True if an event belongs to the current attempt, not to a worker of an earlier one."""
        running = self._running.get(event.number)
        return running is not None and event.attempt == running.record.attempt

    def hung_trials(self) -> dict[int, float]:
        """Trials whose workers have sent nothing for too long: number -> seconds.

        Call it after every event and every tick: where other workers report often, no tick passes
        without an event. The executor's queue is read first, since an event may have arrived while
        the controller was busy (a slow database), and then its worker does not hang.
        """
        for number in self._executor.waiting:
            self._hang_watch.record_activity(number)
        if not self._hang_watch.hung_trials():
            return {}
        while (event := self._executor.next_event(0.0)) is not None:
            # Only queued: handling an event here could end or start trials that are being checked.
            self._queued.append(event)
            if self.is_current(event):
                self._hang_watch.record_activity(event.number)
        return self._hang_watch.hung_trials()
