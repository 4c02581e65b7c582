"""What follows an epoch, on a thread of its own: it is written down, and asked about."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, Self

from harness.training.resume import Line

Decision = Literal["continue", "prune", "stop"]


class Clerk:
    """Writes each epoch down, then asks whether to go on; the next one is trained meanwhile.

    A disk that syncs and a controller that answers take milliseconds, of which a GPU makes use.
    What goes wrong here is raised where the trainer next looks for the answer.

    Args:
        asked: gets an epoch's line once it is written down; says whether to go on.
    """

    def __init__(self, asked: Callable[[Line], Decision]) -> None:
        self._asked = asked
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="clerk")
        self._writing: Future[None] | None = None
        self._answer: Future[Decision] | None = None

    def write(self, job: Callable[[], None]) -> None:
        """Begin to write down an epoch."""
        self._writing = self._pool.submit(job)

    def written(self) -> None:
        """Wait until the last epoch is on disk. Raises whatever was in its way."""
        if self._writing is not None:
            self._writing.result()

    def ask(self, line: Line) -> None:
        """Ask about the epoch that is being written."""
        self._answer = self._pool.submit(self._once_written, line)

    def has_ended_it(self) -> bool:
        """Whether the answer is there, and is not to go on."""
        return self._answer is not None and self._answer.done() and self.answer() != "continue"

    def answer(self) -> Decision:
        """The last answer, waited for; to go on where nothing was asked."""
        return "continue" if self._answer is None else self._answer.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)
        # An error in them holds the frames of a training that failed, and those hold this object.
        self._writing = self._answer = None

    def _once_written(self, line: Line) -> Decision:
        self.written()
        return self._asked(line)
