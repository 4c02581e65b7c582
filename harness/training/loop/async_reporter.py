"""Background thread that writes each epoch to disk and reports it to the controller."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from harness.execution.protocol import Decision

if TYPE_CHECKING:  # it imports torch, which the sleeping workers of benchmarks do without
    from harness.training.loop.resume import EpochLine


class AsyncEpochReporter:
    """Write each epoch to disk and report it, so that the next epoch starts immediately.

    A disk that syncs and a controller that answers take milliseconds in which a GPU would be idle.
    Exceptions of the thread are raised where the trainer waits for the decision.

    Args:
        report_epoch: receives an epoch's line once it is written, and returns the decision.
    """

    def __init__(self, report_epoch: Callable[["EpochLine"], Decision]) -> None:
        self._report_epoch = report_epoch
        # One thread: an epoch is written before it is reported, and epochs stay in order.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="epoch-reporter")
        self._writing: Future[None] | None = None
        self._decision: Future[Decision] | None = None

    def write(self, job: Callable[[], None]) -> None:
        """Start to write an epoch."""
        self._writing = self._pool.submit(job)

    def wait_written(self) -> None:
        """Wait until the last epoch is on disk; raise the exception if that failed."""
        if self._writing is not None:
            self._writing.result()

    def report(self, line: "EpochLine") -> None:
        """Report the epoch that is being written, once it is on disk."""
        self._decision = self._pool.submit(self._report_when_written, self._writing, line)

    def should_stop(self) -> bool:
        """True if the decision has arrived and ends the training."""
        return (
            self._decision is not None
            and self._decision.done()
            and self.wait_decision() != "continue"
        )

    def wait_decision(self) -> Decision:
        """Wait for the last decision; "continue" if no epoch was reported yet."""
        return "continue" if self._decision is None else self._decision.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)
        # An exception in them holds the frames of the failed training, and these hold this object:
        # a reference cycle that would keep the network in memory.
        self._writing = self._decision = None

    def _report_when_written(self, writing: "Future[None] | None", line: "EpochLine") -> Decision:
        # Not `wait_written`: the next epoch may already be waiting for this thread to write it.
        if writing is not None:
            writing.result()
        return self._report_epoch(line)
