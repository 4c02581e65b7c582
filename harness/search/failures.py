"""What becomes of a trial whose attempt went wrong: another one, or the end as failed.

Attempts count since the last newly finished epoch, so that a trial which gets on is never given up.
"""

from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGBUS, SIGKILL, SIGTERM, Signals

from harness.errors import StudyStoppedError
from harness.execution.protocol import Vanished
from harness.records import Failure, TrialRecord

MOST_ATTEMPTS = 3  # that a trial may lose by itself
SAME_CAUSE = 3  # failures in a row that stop the study
MOST_PREEMPTIONS = 20  # whoever is killed so often without an epoch between is not pre-empted
ONCE_MORE = ("host_out_of_memory", "shared_memory")  # perhaps somebody else's doing: one retry
PREEMPTED = (-SIGKILL, -SIGTERM)


@dataclass
class Attempts:
    """What has befallen a trial since its last newly finished epoch.

    Each method takes one mishap and gives the failure that ends the trial, or None: try again.

    Attributes:
        epoch: the last one finished.
    """

    epoch: int = 0
    lost: int = 0
    preempted: int = 0
    retried: set[str] = field(default_factory=set)

    def finished(self, epoch: int) -> bool:
        """An epoch was reported; whether that is progress: no earlier attempt had reported it."""
        if epoch <= self.epoch:
            return False
        self.epoch, self.lost, self.preempted = epoch, 0, 0
        self.retried.clear()
        return True

    def vanished(self, event: Vanished) -> Failure | None:
        """The worker process ended without a word."""
        ending = _ending(event.exit_code)
        if event.exit_code == -SIGKILL and event.out_of_memory:
            message = "the machine's memory ran out, and the kernel killed the worker"
            return self.failed(_failure("host_out_of_memory", message, event.last_words))
        if event.exit_code == -SIGBUS:
            message = "shared memory or a mapped file could not be had: bus error"
            return self.failed(_failure("shared_memory", message, event.last_words))
        if event.exit_code in PREEMPTED:
            self.preempted += 1
            if self.preempted < MOST_PREEMPTIONS:
                return None
            message = f"its worker was killed {MOST_PREEMPTIONS} times without an epoch between"
            return _failure("crashed", f"{message}, last by {ending}", event.last_words)
        message = f"its worker ended {MOST_ATTEMPTS} times, last with {ending}"
        return self._lose(_failure("crashed", message, event.last_words))

    def silent(self, seconds: float, stacks: str) -> Failure | None:
        """The worker reported nothing for so long, and was killed; `stacks` say where it was."""
        message = f"no word from its worker {MOST_ATTEMPTS} times, last for {seconds:.0f} s"
        return self._lose(_failure("hung", message, stacks))

    def failed(self, failure: Failure) -> Failure | None:
        """The worker gave up, and said why.

        An exception that nobody expected may be a moment's trouble of a disk or a driver, so it
        gets the attempts of a worker that ended by itself. What follows from the configuration and
        the images is final.
        """
        if failure.cause == "crashed":
            return self._lose(failure)
        if failure.cause not in ONCE_MORE or failure.cause in self.retried:
            return failure
        self.retried.add(failure.cause)
        return None

    def _lose(self, failure: Failure) -> Failure | None:
        self.lost += 1
        return failure if self.lost >= MOST_ATTEMPTS else None


class Streak:
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
        self._causes = [*self._causes, record.failure.cause][-SAME_CAUSE:]
        if self._causes == [record.failure.cause] * SAME_CAUSE:
            raise StudyStoppedError(
                f"{SAME_CAUSE} trials in a row failed for the same cause ({record.failure.cause}): "
                f"{record.failure.message}; see {path}"
            )


def _failure(cause: str, message: str, last_words: str) -> Failure:
    return Failure(cause=cause, message=message, traceback=last_words or None)


def _ending(exit_code: int | None) -> str:
    """`code 3`, `signal SIGSEGV`."""
    if exit_code is None or exit_code >= 0:
        return f"code {exit_code}"
    try:
        return f"signal {Signals(-exit_code).name}"
    except ValueError:  # a real-time signal
        return f"signal {-exit_code}"
