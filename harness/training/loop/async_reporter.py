"""What follows an epoch, on a thread of its own: it is written down, and asked about."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from harness.execution.protocol import Decision
from harness.training.loop.resume import EpochLine


class AsyncEpochReporter:
    """Writes each epoch down, then asks whether to go on; the next one is trained meanwhile.

    A disk that syncs and a controller that answers take milliseconds, of which a GPU makes use.
    What goes wrong here is raised where the trainer next looks for the answer.

    Args:
        report_epoch: gets an epoch's line once it is written down; says whether to go on.
    """

    def __init__(self, report_epoch: Callable[[EpochLine], Decision]) -> None:
        self._report_epoch = report_epoch
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="clerk")
        self._writing: Future[None] | None = None
        self._decision: Future[Decision] | None = None

    def write(self, job: Callable[[], None]) -> None:
        """Begin to write down an epoch."""
        self._writing = self._pool.submit(job)

    def wait_written(self) -> None:
        """Wait until the last epoch is on disk. Raises whatever was in its way."""
        if self._writing is not None:
            self._writing.result()

    def report(self, line: EpochLine) -> None:
        """Ask about the epoch that is being written."""
        self._decision = self._pool.submit(self._report_when_written, line)

    def should_stop(self) -> bool:
        """Whether the answer is there, and is not to go on."""
        return (
            self._decision is not None
            and self._decision.done()
            and self.wait_decision() != "continue"
        )

    def wait_decision(self) -> Decision:
        """The last answer, waited for; to go on where nothing was asked."""
        return "continue" if self._decision is None else self._decision.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)
        # An error in them holds the frames of a training that failed, and those hold this object.
        self._writing = self._decision = None

    def _report_when_written(self, line: EpochLine) -> Decision:
        self.wait_written()
        return self._report_epoch(line)
