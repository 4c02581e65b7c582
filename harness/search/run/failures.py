"""Retry rules: whether a trial gets another attempt after a failure, or ends as failed.

Attempts are counted since the last newly finished epoch, so that a trial that makes progress is
never given up.
"""

from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGBUS, SIGKILL, SIGTERM, Signals

from harness.core.errors import StudyStoppedError
from harness.core.records import TrialFailure, TrialRecord
from harness.execution.protocol import WorkerDied

MAX_ATTEMPTS = 3  # lost attempts without progress that end a trial as failed
MAX_SAME_CAUSE = 3  # failures in a row that stop the study
# A worker that is killed this often without one epoch in between is not pre-empted: the trial
# itself is the reason, e.g. a memory limit that a daemon enforces instead of the kernel.
MAX_PREEMPTIONS = 20
# Another process may have used up the memory: one retry.
RETRY_ONCE_CAUSES = ("host_out_of_memory", "shared_memory")
PREEMPTION_EXIT_CODES = (-SIGKILL, -SIGTERM)


@dataclass
class AttemptCounter:
    """Counts of the lost attempts of a trial since its last newly finished epoch.

    Each method adds one lost attempt and returns the failure that ends the trial, or None if the
    trial gets another attempt.

    Attributes:
        epoch: the last finished epoch.
        n_lost: attempts that ended without a cause outside of the trial.
        n_preempted: attempts that a signal from outside ended.
        retried_causes: causes that have had their one retry.
    """

    epoch: int = 0
    n_lost: int = 0
    n_preempted: int = 0
    retried_causes: set[str] = field(default_factory=set)

    def epoch_finished(self, epoch: int) -> bool:
        """Add a reported epoch; True if it is progress: no earlier attempt had reported it."""
        if epoch <= self.epoch:
            return False
        self.epoch, self.n_lost, self.n_preempted = epoch, 0, 0
        self.retried_causes.clear()
        return True

    def worker_died(self, event: WorkerDied) -> TrialFailure | None:
        """Add an attempt whose worker process ended without a last message."""
        ending = _exit_text(event.exit_code)
        if event.exit_code == -SIGKILL and event.out_of_memory:
            message = "the machine's memory ran out, and the kernel killed the worker"
            return self.attempt_failed(_make_failure("host_out_of_memory", message, event.log_tail))
        if event.exit_code == -SIGBUS:
            message = "bus error: shared memory or a mapped file was not available"
            return self.attempt_failed(_make_failure("shared_memory", message, event.log_tail))
        if event.exit_code in PREEMPTION_EXIT_CODES:
            self.n_preempted += 1
            if self.n_preempted < MAX_PREEMPTIONS:
                return None
            message = f"its worker was killed {MAX_PREEMPTIONS} times without an epoch in between"
            return _make_failure("crashed", f"{message}, last by {ending}", event.log_tail)
        message = f"its worker ended {MAX_ATTEMPTS} times, last with {ending}"
        return self._count_loss(_make_failure("crashed", message, event.log_tail))

    def worker_hung(self, seconds: float, stacks: str) -> TrialFailure | None:
        """Add an attempt whose worker was killed because it reported nothing for `seconds`.

        Args:
            stacks: the end of its log, with the stacks of its threads.
        """
        message = f"its worker stopped reporting {MAX_ATTEMPTS} times, last for {seconds:.0f} s"
        return self._count_loss(_make_failure("hung", message, stacks))

    def attempt_failed(self, failure: TrialFailure) -> TrialFailure | None:
        """Add an attempt that ended with an exception in the worker.

        An unexpected exception may come from a temporary problem of a disk or a driver, so it gets
        as many attempts as a worker that crashed. A failure that follows from the configuration or
        the images is final, since every attempt would end in the same way.
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
    """Causes of the last failures in a row."""

    def __init__(self) -> None:
        self._causes: list[str] = []

    def add(self, record: TrialRecord, path: Path) -> None:
        """Add a trial that has ended; `path` is its record.

        Raises:
            StudyStoppedError: three trials in a row failed for the same cause.
        """
        if record.failure is None:
            self._causes = []
            return
        self._causes = [*self._causes, record.failure.cause][-MAX_SAME_CAUSE:]
        if self._causes == [record.failure.cause] * MAX_SAME_CAUSE:
            raise StudyStoppedError(
                f"{MAX_SAME_CAUSE} trials in a row failed for the same cause "
                f"({record.failure.cause}): {record.failure.message}; see {path}"
            )


def _make_failure(cause: str, message: str, log_tail: str) -> TrialFailure:
    return TrialFailure(cause=cause, message=message, traceback=log_tail or None)


def _exit_text(exit_code: int | None) -> str:
    """Text of an exit code: `code 3`, `signal SIGSEGV`."""
    if exit_code is None or exit_code >= 0:
        return f"code {exit_code}"
    try:
        return f"signal {Signals(-exit_code).name}"
    except ValueError:  # a real-time signal
        return f"signal {-exit_code}"
