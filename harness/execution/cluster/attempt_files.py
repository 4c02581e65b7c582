"""Times at which the files of an attempt are sent: before its events, and by the budget."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from harness.execution.cluster.checkpoint_budget import (
    budget_line,
    checkpoint_interval_s,
    is_checkpoint_due,
)
from harness.execution.cluster.trial_sender import TrialSender


class AttemptFiles:
    """Sends the files of one attempt at the right times.

    Small files go out before each event. Checkpoints go out on a thread of their own when the
    budget allows one, so that no event waits for hundreds of megabytes; and always at the end.

    Args:
        sender: sends the files.
        n_workers: workers that send checkpoints over the same link.
        every_epoch: `train.checkpoint_s` is 0: each epoch's checkpoint goes out before its event.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        sender: TrialSender,
        n_workers: int,
        *,
        every_epoch: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sender, self._n_workers, self._every_epoch = sender, n_workers, every_epoch
        self._clock = clock
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
        if rate is None or not self._size:
            return None
        return budget_line(self._size, self._n_workers, rate, every_epoch=self._every_epoch)

    def close(self) -> None:
        """Wait for the checkpoint that is being sent; its fault has no reader any more."""
        self._pool.shutdown(wait=True)

    def _collect(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.result()

    def _interval_s(self, size: int) -> float | None:
        rate = self.sender.link_rate
        return None if rate is None else checkpoint_interval_s(size, self._n_workers, rate)
