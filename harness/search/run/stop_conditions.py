"""What ends a study before all its trials are finished: signals, `--timeout`, its budget."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any

from harness.core import files
from harness.core.errors import StudyInterrupted
from harness.core.paths import TrialPaths
from harness.core.text import format_duration
from harness.execution.protocol import Event, TrialFinished, WorkerDied
from harness.search.run.budget import BudgetUsage
from harness.search.run.observers import TrialObserver
from harness.search.run.trials import RunningTrial

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


@contextmanager
def stop_on_signals(timeout_s: float | None) -> Iterator["StopConditions"]:
    """Take over the signals of this process, and start the clock of `--timeout`."""
    signals = StopSignals()
    with signals.handle_signals():
        yield StopConditions(signals=signals, timeout_s=timeout_s)


class StopConditions(TrialObserver):
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

    def epoch_finished(self, running: RunningTrial, metrics: dict[str, float]) -> None:
        if self.budget_usage is not None:
            self.budget_usage.add_epoch(running.record.number, metrics)

    def trial_ended(self, running: RunningTrial) -> None:
        if self.budget_usage is not None:
            self.budget_usage.add_trial(running.record)


def is_resumable_stop(event: Event, *, has_failure: bool) -> bool:
    """Whether a trial of a study that winds up is left to be continued.

    Args:
        has_failure: the controller has stopped the trial for a reason of its own.
    """
    return isinstance(event, WorkerDied) or (
        isinstance(event, TrialFinished) and event.result.outcome == "stopped" and not has_failure
    )


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
