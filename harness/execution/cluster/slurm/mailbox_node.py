"""Node of a mailbox as its executor sees it: its task, and the orders for it."""

import queue
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from harness.execution.cluster.slurm.mailbox import NodeChannel, NodeOrder
from harness.execution.protocol import TrialTask


@dataclass
class MailboxNode:
    """Node with its task and the orders that wait to be written."""

    channel: NodeChannel
    task: TrialTask | None = None
    orders: deque[NodeOrder] = field(default_factory=deque)
    log_tails: "queue.SimpleQueue[str]" = field(default_factory=queue.SimpleQueue)

    @property
    def host(self) -> str:
        return self.channel.registration.host

    @property
    def text(self) -> str:
        """Host, and job if it has one, for messages."""
        registration = self.channel.registration
        job = "" if registration.job is None else f" (job {registration.job})"
        return f"{registration.host}{job}"

    def flush(self) -> None:
        """Write the waiting orders; a disk that fails is tried again at the next look."""
        with suppress(OSError):
            while self.orders:
                self.channel.send(self.orders[0])
                self.orders.popleft()
