"""Times at which the files of an attempt are sent: before its events, and by the budget."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from harness.execution.cluster.checkpoint_budget import (
    budget_line,
    checkpoint_interval_s,
    is_checkpoint_due,
)
from harness.execution.cluster.checkpoint_store import CheckpointStore
from harness.execution.cluster.file_transfer import ControllerLink
from harness.execution.cluster.messages import AgentReport
from harness.execution.cluster.trial_sender import TrialSender
from harness.execution.protocol import Event, TrialTask


class AttemptFiles:
    """Sends the files of one attempt at the right times.

    Small files go out before each event. Checkpoints go out on a thread of their own when the
    budget allows one, so that no event waits for hundreds of megabytes; and always at the end.

    Args:
        sender: sends the files.
        n_workers: workers that send checkpoints over the same link.
        every_epoch: `train.checkpoint_s` is 0: each epoch's checkpoint goes out before its event.
        has_store: checkpoints do not cross the link: each is sent that the worker writes.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        sender: TrialSender,
        n_workers: int,
        *,
        every_epoch: bool,
        has_store: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sender, self._n_workers, self._every_epoch = sender, n_workers, every_epoch
        self._clock, self._has_store = clock, has_store
        self._n_reported_bytes = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-sender")
        self._sending: Future[None] | None = None
        self._sent_at: float | None = None
        self._size = 0  # of the last checkpoint

    def send_due_checkpoint(self) -> None:
        """Start to send the checkpoint if the budget allows one now.

        Raises:
            TransferError, StaleTransferError, ControllerDiskFullError: of the last one.
        """
        if self._sending is not None:
            if not self._sending.done():
                return
            self._collect()
        size = self.sender.checkpoint_size()
        if size is None or self._every_epoch:  # the latter are sent with their events
            return
        elapsed_s = None if self._sent_at is None else self._clock() - self._sent_at
        if is_checkpoint_due(elapsed_s, self._interval_s(size)):
            self._sent_at, self._size = self._clock(), size
            self._sending = self._pool.submit(self.sender.send_checkpoint)

    def send_before_event(self, *, is_last: bool) -> None:
        """Send what an event tells of; with the last event everything. Raises as above."""
        if is_last:
            self._collect()
        self.sender.send_changed()
        size = self.sender.checkpoint_size()
        if is_last or self._every_epoch:
            self._size = size or self._size
            self.sender.send_checkpoint(final=is_last)

    def budget_line(self) -> str | None:
        """The budget in one line; None before a checkpoint has measured the link."""
        rate = self.sender.link_rate
        if rate is None or not self._size or self._has_store:
            return None
        return budget_line(self._size, self._n_workers, rate, every_epoch=self._every_epoch)

    def make_report(self, event: Event, *, with_note: bool) -> AgentReport:
        """Report an event whose files are sent, with the budget if `with_note`."""
        n_bytes = self.sender.n_bytes - self._n_reported_bytes
        self._n_reported_bytes += n_bytes
        return AgentReport(
            event=event,
            files=self.sender.take_sent(),
            n_bytes=n_bytes,
            link_rate=self.sender.link_rate,
            note=self.budget_line() if with_note else None,
        )

    def close(self) -> None:
        """Wait for the checkpoint that is being sent; its fault has no reader any more."""
        self._pool.shutdown(wait=True)

    def _collect(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.result()

    def _interval_s(self, size: int) -> float | None:
        rate = self.sender.link_rate
        if rate is None or self._has_store:
            return None
        return checkpoint_interval_s(size, self._n_workers, rate)


def open_attempt_files(
    link: ControllerLink,
    task: TrialTask,
    *,
    store: CheckpointStore | None,
    n_workers: int,
    link_rate: float | None,
    pause: Callable[[float], object],
) -> AttemptFiles:
    """Sender of the files of a staged task; what its folder holds now came from the controller.

    Args:
        link_rate: measured while the inputs were fetched.
    """
    sender = TrialSender(link, task, task.trial_dir, store=store, link_rate=link_rate, pause=pause)
    sender.mark_present()
    return AttemptFiles(
        sender,
        n_workers,
        every_epoch=task.config.train.checkpoint_s == 0,
        has_store=store is not None,
    )
