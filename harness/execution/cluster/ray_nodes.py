"""Nodes that get no trials for some time, or never again, and the reasons."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from signal import SIGTERM

from harness.execution.protocol import EpochReport, Event, TrialFailed, TrialFinished, WorkerDied

MAX_SAME_CAUSE = 3  # failures in a row on one node that leave it out
# Ray itself notices a silent node after a minute, and until then would place workers on it.
LOST_S = 90.0
# Causes that may come from the node. The others come from the configuration or the images.
NODE_CAUSES = ("crashed", "host_out_of_memory", "shared_memory", "disk_full")


@dataclass
class _NodeHistory:
    causes: list[str] = field(default_factory=list)
    lost_until: float = 0.0
    reason: str | None = None  # for which it is left out


class NodeRoster:
    """Decides which nodes may get trials. Any thread may call it.

    Args:
        say: shows a line to the user.
        clock: monotonic seconds.
    """

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock = say, clock
        self._nodes: dict[str, _NodeHistory] = {}
        self._living: set[str] = set()
        self._lock = threading.Lock()

    def update(self, living: Iterable[str]) -> None:
        """Take over the table of nodes: those that are gone need no exclusion any more."""
        with self._lock:
            self._living = set(living)
            self._nodes = {id_: node for id_, node in self._nodes.items() if id_ in self._living}

    def note_lost(self, node_id: str) -> None:
        """Place nothing on a node that stopped to answer, until Ray has noticed it as well."""
        with self._lock:
            self._node(node_id).lost_until = self._clock() + LOST_S

    def note_event(self, node_id: str, name: str, event: Event) -> None:
        """Count the failures of a node; one that only fails is left out."""
        line = None
        with self._lock:
            node = self._node(node_id)
            cause = _node_cause(event)
            if cause is None:
                if isinstance(event, EpochReport | TrialFinished):
                    node.causes.clear()
                return
            node.causes = [*node.causes, cause][-MAX_SAME_CAUSE:]
            is_new = node.reason is None  # several agents of a node may report
            if is_new and node.causes == [cause] * MAX_SAME_CAUSE and self._has_other(node_id):
                node.reason = cause
                line = (
                    f"node {name} is left out: {MAX_SAME_CAUSE} trials in a row failed there with "
                    f"the same cause ({cause}); the others continue"
                )
        if line is not None:
            self._say(line)

    def leave_out(self, node_id: str, line: str) -> None:
        """Place nothing on a node any more, for the reason in `line`; told once."""
        with self._lock:
            node = self._node(node_id)
            is_new, node.reason = node.reason is None, line
        if is_new:
            self._say(line)

    def excluded(self) -> frozenset[str]:
        """Ids of the nodes that get no trials now."""
        now = self._clock()
        with self._lock:
            return frozenset(
                id_
                for id_, node in self._nodes.items()
                if node.reason is not None or node.lost_until > now
            )

    def is_left_out(self, node_id: str) -> bool:
        """True if a node gets no trials any more."""
        with self._lock:
            node = self._nodes.get(node_id)
            return node is not None and node.reason is not None

    def _node(self, node_id: str) -> _NodeHistory:
        return self._nodes.setdefault(node_id, _NodeHistory())

    def _has_other(self, node_id: str) -> bool:
        """True if another node can go on: the last one is never left out."""
        return any(
            id_ != node_id and (id_ not in self._nodes or self._nodes[id_].reason is None)
            for id_ in self._living
        )


def _node_cause(event: Event) -> str | None:
    """Cause of a failure that may be the node's; None if the event is no such failure."""
    if isinstance(event, WorkerDied):
        if event.exit_code == -SIGTERM:
            return None  # pre-empted
        return "host_out_of_memory" if event.out_of_memory else "crashed"
    if isinstance(event, TrialFailed) and event.failure.cause in NODE_CAUSES:
        return event.failure.cause
    return None
