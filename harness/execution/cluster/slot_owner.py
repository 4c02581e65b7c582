"""Interface of the Ray executor towards its slots, in a file of its own: each needs the other."""

import threading
from collections.abc import Callable
from typing import Any, Protocol

from harness.execution.cluster.messages import AgentReport, InputSource, TaskInputs
from harness.execution.cluster.ray_agent import AgentSettings
from harness.execution.cluster.ray_cluster import RayCluster
from harness.execution.cluster.ray_nodes import NodeRoster
from harness.execution.protocol import Event, TrialTask


class AgentHolder(Protocol):
    """Slot, as the executor sees it when it chooses a task."""

    node_id: str


class SlotOwner(Protocol):
    """Executor of a slot, as the slot sees it."""

    cluster: RayCluster
    roster: NodeRoster
    settings: AgentSettings
    closing: threading.Event
    files: Any
    inputs: InputSource
    say: Callable[[str], None]

    def take_task(self, slot: AgentHolder) -> TrialTask | None:
        """Take a waiting task; None if there is none for this slot."""
        ...

    @property
    def n_added(self) -> int:
        """Number of tasks that were ever added."""
        ...

    def wait_for_task(self, n_added: int, timeout_s: float) -> None:
        """Wait until more than `n_added` tasks were added, or the timeout is over."""
        ...

    def deliver(self, event: Event) -> None:
        """Pass an event to the controller."""
        ...

    def note_loss(self, number: int, node_id: str) -> None:
        """Remember on which node a trial lost its agent."""
        ...

    def note_report(self, report: AgentReport) -> None:
        """Count the bytes of a report and show its note."""
        ...

    def say_once(self, line: str) -> None:
        """Show a line, unless it was shown before."""
        ...

    def register(self, inputs: TaskInputs) -> None:
        """Serve the files of an attempt. Raises RayError, GetTimeoutError."""
        ...

    def end_attempt(self, inputs: TaskInputs) -> None:
        """Accept no further file of an attempt."""
        ...
