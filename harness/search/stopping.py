"""What ends a study before all its trials are finished: signals, `--timeout`, its budget."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any

from harness.errors import StudyInterrupted
from harness.execution.protocol import Ended, Event, Vanished
from harness.records import TrialRecord
from harness.search.budget import Spending
from harness.search.progress import duration

WATCHED = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


@dataclass(frozen=True)
class Stop:
    """Why a study stops now.

    Attributes:
        line: what ran out or arrived, for the user.
        winds_up: running trials are put by, to be continued; else they are trained to their end.
        signal: number of the signal; None: something ran out.
    """

    line: str
    winds_up: bool = True
    signal: int | None = None


class Signals:
    """The first signal asks, the second insists.

    Attributes:
        first: number of the first one that arrived while trials were trained; None: none yet.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._asks = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Take the signals over; those that are ignored stay so, other threads have no say."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {n: signal.getsignal(n) for n in WATCHED}
        taken = {n: handler for n, handler in before.items() if handler is not signal.SIG_IGN}
        for number in taken:
            signal.signal(number, self._arrived)
        try:
            yield
        finally:
            for number, handler in taken.items():
                signal.signal(number, handler or signal.SIG_DFL)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While this lasts the first signal is noted only; any other raises StudyInterrupted."""
        self._asks = True
        try:
            yield
        finally:
            self._asks = False

    def _arrived(self, number: int, _: FrameType | None) -> None:
        if self._asks and self.first is None:
            self.first = number
            return
        raise StudyInterrupted(number)


class Stops:
    """Looks whether a study must stop.

    Args:
        signals: those that have arrived; None: nobody catches any.
        timeout_s: how long this call may last, from now on.
        clock: monotonic seconds.

    Attributes:
        spending: what of the budget is used; None: there is no limit.
        checks: called with each look; they raise what must end the study.
    """

    def __init__(
        self,
        *,
        signals: Signals | None = None,
        timeout_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._signals = signals
        self.spending: Spending | None = None
        self.checks: list[Callable[[], None]] = []
        self._clock, self._timeout_s = clock, timeout_s
        self._end = None if timeout_s is None else clock() + timeout_s

    def asking(self) -> AbstractContextManager[None]:
        """While this lasts the first signal only asks."""
        return nullcontext() if self._signals is None else self._signals.asking()

    def look(self) -> Stop | None:
        """The most pressing reason to stop now."""
        for check in self.checks:
            check()
        if self._signals is not None and self._signals.first is not None:
            number = self._signals.first
            name = signal.Signals(number).name
            return Stop(f"{name}: finishing the step; a second one leaves at once", signal=number)
        if self._end is not None and self._clock() >= self._end:
            return Stop(f"--timeout: {duration(self._timeout_s or 0.0)} are over")
        if self.spending is None:
            return None
        if (line := self.spending.hours_are_spent()) is not None:
            return Stop(line)
        line = self.spending.nothing_improves()
        return None if line is None else Stop(line, winds_up=False)

    def epoch(self, number: int, metrics: dict[str, float]) -> None:
        """A trial has finished an epoch."""
        if self.spending is not None:
            self.spending.epoch(number, metrics)

    def ended(self, record: TrialRecord) -> None:
        """A trial has ended."""
        if self.spending is not None:
            self.spending.ended(record)


def is_put_by(event: Event, *, judged: bool) -> bool:
    """Whether a trial of a study that winds up is left to be continued.

    Args:
        judged: the controller has stopped the trial for a reason of its own.
    """
    return isinstance(event, Vanished) or (
        isinstance(event, Ended) and event.outcome == "stopped" and not judged
    )
