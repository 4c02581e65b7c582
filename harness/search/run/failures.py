"""What becomes of a trial whose attempt went wrong: another one, or the end as failed.

Attempts count since the last newly finished epoch, so that a trial which gets on is never given up.
"""

from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGBUS, SIGKILL, SIGTERM, Signals

from harness.core.errors import StudyStoppedError
from harness.core.records import TrialFailure, TrialRecord
from harness.execution.protocol import WorkerDied

MAX_ATTEMPTS = 3  # that a trial may lose by itself
MAX_SAME_CAUSE = 3  # failures in a row that stop the study
MAX_PREEMPTIONS = 20  # whoever is killed so often without an epoch between is not pre-empted
RETRY_ONCE_CAUSES = (
    "host_out_of_memory",
    "shared_memory",
)  # perhaps somebody else's doing: one retry
PREEMPTION_EXIT_CODES = (-SIGKILL, -SIGTERM)


@dataclass
class AttemptCounter:
    """What has befallen a trial since its last newly finished epoch.

    Each method takes one mishap and gives the failure that ends the trial, or None: try again.

    Attributes:
        epoch: the last one finished.
    """

    epoch: int = 0
    n_lost: int = 0
    n_preempted: int = 0
    retried_causes: set[str] = field(default_factory=set)

    def epoch_finished(self, epoch: int) -> bool:
        """An epoch was reported; whether that is progress: no earlier attempt had reported it."""
        if epoch <= self.epoch:
            return False
        self.epoch, self.n_lost, self.n_preempted = epoch, 0, 0
        self.retried_causes.clear()
        return True

    def worker_died(self, event: WorkerDied) -> TrialFailure | None:
        """The worker process ended without a word."""
        ending = _exit_text(event.exit_code)
        if event.exit_code == -SIGKILL and event.out_of_memory:
            message = "the machine's memory ran out, and the kernel killed the worker"
            return self.attempt_failed(_make_failure("host_out_of_memory", message, event.log_tail))
        if event.exit_code == -SIGBUS:
            message = "shared memory or a mapped file could not be had: bus error"
            return self.attempt_failed(_make_failure("shared_memory", message, event.log_tail))
        if event.exit_code in PREEMPTION_EXIT_CODES:
            self.n_preempted += 1
            if self.n_preempted < MAX_PREEMPTIONS:
                return None
            message = f"its worker was killed {MAX_PREEMPTIONS} times without an epoch between"
            return _make_failure("crashed", f"{message}, last by {ending}", event.log_tail)
        message = f"its worker ended {MAX_ATTEMPTS} times, last with {ending}"
        return self._count_loss(_make_failure("crashed", message, event.log_tail))

    def worker_hung(self, seconds: float, stacks: str) -> TrialFailure | None:
        """The worker reported nothing for so long, and was killed; `stacks` say where it was."""
        message = f"no word from its worker {MAX_ATTEMPTS} times, last for {seconds:.0f} s"
        return self._count_loss(_make_failure("hung", message, stacks))

    def attempt_failed(self, failure: TrialFailure) -> TrialFailure | None:
        """The worker gave up, and said why.

        An exception that nobody expected may be a moment's trouble of a disk or a driver, so it
        gets the attempts of a worker that ended by itself. What follows from the configuration and
        the images is final.
        """
        if failure.cause == "crashed":
            return self._count_loss(failure)
        if failure.cause not in RETRY_ONCE_CAUSES or failure.cause in self.retried_causes:
            return failure
        self.retried_causes.add(failure.cause)
        return None

    def _count_loss(self, failure: TrialFailure) -> TrialFailure | None:
        self.n_lost += 1
        return failure if self.n_lost >= MAX_ATTEMPTS else None


class FailureStreak:
    """The causes of the last failures in a row."""

    def __init__(self) -> None:
        self._causes: list[str] = []

    def add(self, record: TrialRecord, path: Path) -> None:
        """A trial has ended; `path` is where its record lies.

        Raises:
            StudyStoppedError: the same cause for the third time in a row.
        """
        if record.failure is None:
            self._causes = []
            return
        self._causes = [*self._causes, record.failure.cause][-MAX_SAME_CAUSE:]
        if self._causes == [record.failure.cause] * MAX_SAME_CAUSE:
            raise StudyStoppedError(
                f"{MAX_SAME_CAUSE} trials in a row failed for the same cause "
                f"({record.failure.cause}): "
                f"{record.failure.message}; see {path}"
            )


def _make_failure(cause: str, message: str, log_tail: str) -> TrialFailure:
    return TrialFailure(cause=cause, message=message, traceback=log_tail or None)


def _exit_text(exit_code: int | None) -> str:
    """`code 3`, `signal SIGSEGV`."""
    if exit_code is None or exit_code >= 0:
        return f"code {exit_code}"
    try:
        return f"signal {Signals(-exit_code).name}"
    except ValueError:  # a real-time signal
        return f"signal {-exit_code}"
