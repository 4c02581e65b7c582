"""What ends a study before all its trials are finished: signals, `--timeout`, its budget."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any

from harness.core.errors import StudyInterrupted
from harness.core.records import TrialRecord
from harness.core.text import format_duration
from harness.execution.protocol import Event, TrialFinished, WorkerDied
from harness.search.run.budget import BudgetUsage

HANDLED_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


@dataclass(frozen=True)
class StopReason:
    """Why a study stops now.

    Attributes:
        line: what ran out or arrived, for the user.
        interrupts_trials: running trials are put by, to be continued; else they are trained to
            their end.
        signal: number of the signal; None: something ran out.
    """

    line: str
    interrupts_trials: bool = True
    signal: int | None = None


class StopSignals:
    """The first signal asks, the second insists.

    Attributes:
        first_signal: number of the first one that arrived while trials were trained; None: none
            yet.
    """

    def __init__(self) -> None:
        self.first_signal: int | None = None
        self._defers = False

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Take the signals over; those that are ignored stay so, other threads have no say."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous: dict[int, Any] = {n: signal.getsignal(n) for n in HANDLED_SIGNALS}
        handlers = {n: handler for n, handler in previous.items() if handler is not signal.SIG_IGN}
        for number in handlers:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler or signal.SIG_DFL)

    @contextmanager
    def defer_first(self) -> Iterator[None]:
        """While this lasts the first signal is noted only; any other raises StudyInterrupted."""
        self._defers = True
        try:
            yield
        finally:
            self._defers = False

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._defers and self.first_signal is None:
            self.first_signal = number
            return
        raise StudyInterrupted(number)


class StopConditions:
    """Looks whether a study must stop.

    Args:
        signals: those that have arrived; None: nobody catches any.
        timeout_s: how long this call may last, from now on.
        clock: monotonic seconds.

    Attributes:
        budget_usage: what of the budget is used; None: there is no limit.
        checks: called with each look; they raise what must end the study.
    """

    def __init__(
        self,
        *,
        signals: StopSignals | None = None,
        timeout_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._signals = signals
        self.budget_usage: BudgetUsage | None = None
        self.checks: list[Callable[[], None]] = []
        self._clock, self._timeout_s = clock, timeout_s
        self._deadline = None if timeout_s is None else clock() + timeout_s

    def defer_first_signal(self) -> AbstractContextManager[None]:
        """While this lasts the first signal only asks."""
        return nullcontext() if self._signals is None else self._signals.defer_first()

    def check(self) -> StopReason | None:
        """The most pressing reason to stop now."""
        for run_check in self.checks:
            run_check()
        if self._signals is not None and self._signals.first_signal is not None:
            number = self._signals.first_signal
            name = signal.Signals(number).name
            return StopReason(
                f"{name}: finishing the step; a second one leaves at once", signal=number
            )
        if self._deadline is not None and self._clock() >= self._deadline:
            return StopReason(f"--timeout: {format_duration(self._timeout_s or 0.0)} are over")
        if self.budget_usage is None:
            return None
        if (line := self.budget_usage.hours_message()) is not None:
            return StopReason(line)
        line = self.budget_usage.stagnation_message()
        return None if line is None else StopReason(line, interrupts_trials=False)

    def epoch_finished(self, number: int, metrics: dict[str, float]) -> None:
        """A trial has finished an epoch."""
        if self.budget_usage is not None:
            self.budget_usage.add_epoch(number, metrics)

    def trial_finished(self, record: TrialRecord) -> None:
        """A trial has ended."""
        if self.budget_usage is not None:
            self.budget_usage.add_trial(record)


def is_resumable_stop(event: Event, *, has_failure: bool) -> bool:
    """Whether a trial of a study that winds up is left to be continued.

    Args:
        has_failure: the controller has stopped the trial for a reason of its own.
    """
    return isinstance(event, WorkerDied) or (
        isinstance(event, TrialFinished) and event.outcome == "stopped" and not has_failure
    )
