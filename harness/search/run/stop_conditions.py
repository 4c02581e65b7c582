"""Early end of a study: the reasons (signals, `--timeout`, budget), and the time to save trials."""

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
from harness.search.run.running_trial import RunningTrial

# Schedulers announce the end of a job by SIGTERM or, as configured (Slurm's --signal), by SIGUSR1
# or SIGUSR2, whose default action would kill the process. Windows has no SIGUSR1.
HANDLED_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


@dataclass(frozen=True)
class StopReason:
    """Reason why a study stops.

    Attributes:
        line: the limit that was reached or the signal that arrived, for the user.
        interrupts_trials: running trials are saved, to be continued; otherwise they are trained to
            their end.
        signal: number of the signal; None: a limit was reached.
    """

    line: str
    interrupts_trials: bool = True
    signal: int | None = None


class StopSignals:
    """Signal handlers: the first signal requests a graceful stop, the second one quits immediately.

    Attributes:
        first_signal: number of the first signal that arrived while trials were trained; None before
            that.
    """

    def __init__(self) -> None:
        self.first_signal: int | None = None
        self._defers = False

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Install the handlers for the time of the block; ignored signals stay ignored.

        Does nothing outside of the main thread, where Python allows no handlers (a notebook server
        may call us from another thread). SIGINT is ignored in background jobs of a shell.
        """
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
                # getsignal gives None for a handler that C code installed; it cannot be set again.
                signal.signal(number, handler or signal.SIG_DFL)

    @contextmanager
    def defer_first(self) -> Iterator[None]:
        """Note the first signal for the time of the block; any other raises StudyInterrupted."""
        self._defers = True
        try:
            yield
        finally:
            self._defers = False

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        # A handler may run between any two instructions, so it only notes the number; the
        # controller acts on it between two events, when all files are consistent.
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
    """Reasons to stop a study, checked by the controller between two events.

    Args:
        signals: the signal handlers; None: signals are not handled.
        timeout_s: time limit of this run, from now on.
        clock: monotonic seconds.

    Attributes:
        budget_usage: the used part of the budget; None: there is no limit.
        checks: called with each check; they raise an exception that must end the study.
    """

    def __init__(
        self,
        *,
        signals: StopSignals | None = None,
        timeout_s: float | None = None,
        # Monotonic, as the clock of the machine may be set while the study runs.
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._signals = signals
        self.budget_usage: BudgetUsage | None = None
        self.checks: list[Callable[[], None]] = []
        self._clock, self._timeout_s = clock, timeout_s
        self._deadline = None if timeout_s is None else clock() + timeout_s

    def defer_first_signal(self) -> AbstractContextManager[None]:
        """Let the first signal request a graceful stop, for the time of the block."""
        return nullcontext() if self._signals is None else self._signals.defer_first()

    def check(self) -> StopReason | None:
        """The most urgent reason to stop; None if there is no reason."""
        for run_check in self.checks:
            run_check()
        if self._signals is not None and self._signals.first_signal is not None:
            number = self._signals.first_signal
            name = signal.Signals(number).name
            return StopReason(
                f"{name}: finishing the step; a second signal quits immediately", signal=number
            )
        if self._deadline is not None and self._clock() >= self._deadline:
            return StopReason(
                f"--timeout: the limit of {format_duration(self._timeout_s or 0.0)} is reached"
            )
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
    """True if the study is stopping and the next run should resume this trial.

    Args:
        has_failure: the controller has stopped the trial for a failure, which is recorded instead.
    """
    return isinstance(event, WorkerDied) or (
        isinstance(event, TrialFinished) and event.result.outcome == "stopped" and not has_failure
    )


# Times `limits.stop_s`: a disk that never completes a checkpoint must not hold the study for ever.
MAX_EXTENSION = 10


class GracefulStop:
    """State of a stop: its reason, and the time that the workers have for saving.

    Args:
        stop_conditions: reasons to end the study early.
        stop_s: seconds for workers to finish a step and save, `limits.stop_s`.
        clock: monotonic seconds.

    Attributes:
        stop: the reason; None while the study continues.
    """

    def __init__(
        self, stop_conditions: StopConditions, stop_s: float, clock: Callable[[], float]
    ) -> None:
        self._stop_conditions, self._stop_s, self._clock = stop_conditions, stop_s, clock
        self.stop: StopReason | None = None
        self._started_at = 0.0

    @property
    def is_stopping(self) -> bool:
        """True if the running trials have been requested to stop."""
        return self.stop is not None and self.stop.interrupts_trials

    def check(self) -> StopReason | None:
        """A new reason to stop, more urgent than the present one; None if there is no such."""
        if self.is_stopping:
            return None
        stop = self._stop_conditions.check()
        if stop is None or (self.stop is not None and not stop.interrupts_trials):
            return None
        self.stop, self._started_at = stop, self._clock()
        return stop

    def is_over(self, trials: Iterable[TrialPaths]) -> bool:
        """True if the time for saving is over for the workers of these trials.

        While one of them is writing a checkpoint the limit is ten times as long: a network of 25
        million parameters makes half a gigabyte, and the disk may be busy.
        """
        if not self.is_stopping:
            return False
        elapsed_s = self._clock() - self._started_at
        if elapsed_s <= self._stop_s:
            return False
        saves = any(files.has_pending_write(trial.checkpoint) for trial in trials)
        return not saves or elapsed_s > MAX_EXTENSION * self._stop_s
