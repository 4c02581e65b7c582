"""Executor that trains on nodes which Slurm starts, over a mailbox on the shared file system.

The controller hands over a task → it waits here for a free node → the order goes into the node's
file → the node's reports become events. A thread of its own looks at all files; calls of the
controller only leave orders for it.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from harness.core.errors import HarnessError, UserError
from harness.execution.cluster.messages import InputSource
from harness.execution.cluster.node_facts import own_versions, version_differences
from harness.execution.cluster.node_failures import input_failure_event, link_loss_event
from harness.execution.cluster.ray_nodes import NodeRoster
from harness.execution.cluster.slurm.job_watch import JobWatch
from harness.execution.cluster.slurm.line_files import MailboxError
from harness.execution.cluster.slurm.mailbox import (
    ControllerMailbox,
    NodeChannel,
    NodeOrder,
    NodeReport,
)
from harness.execution.cluster.slurm.mailbox_node import MailboxNode
from harness.execution.protocol import (
    Decision,
    EpochReply,
    Event,
    TrialFailed,
    TrialFinished,
    TrialStarted,
    TrialTask,
    WorkerDied,
)

# Many looks load the server of a shared disk: 20 ms for each node make 50 files a second at most.
MIN_POLL_S, POLL_S_PER_NODE = 0.25, 0.02
HEARTBEAT_S = 5.0
# Nodes touch their heartbeat each 5 s; a busy server of the file system may answer late.
SILENCE_S = 45.0
KILL_S = 20.0  # for a node to kill a worker and answer
CLOSE_S = 10.0  # for all nodes to end


class SlurmExecutor:
    """Train trials on the nodes that register in a mailbox.

    Args:
        mailbox: of this run.
        jobs: keeps the nodes alive; started here.
        inputs: what a node needs for a task; closed at the end.
        say: shows a line to the user.
    """

    def __init__(
        self,
        mailbox: ControllerMailbox,
        jobs: JobWatch,
        inputs: InputSource,
        *,
        say: Callable[[str], None],
    ) -> None:
        self._mailbox, self._jobs, self._inputs = mailbox, jobs, inputs
        self._say, self._roster = say, NodeRoster(say)
        self._events: queue.Queue[Event] = queue.Queue()
        self._pending: deque[TrialTask] = deque()
        self._nodes: list[MailboxNode] = []
        self._lock = threading.RLock()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._fault: HarnessError | None = None
        self._beaten_at = 0.0
        self._versions, self._has_trained = own_versions(), False
        jobs.submit()
        self._thread = threading.Thread(target=self._watch, name="slurm-mailbox", daemon=True)
        self._thread.start()

    @property
    def slots(self) -> int:
        return len(self._nodes)

    @property
    def waiting(self) -> frozenset[int]:
        """Numbers of the trials that wait for a node."""
        with self._lock:
            return frozenset(task.number for task in self._pending)

    def start(self, task: TrialTask) -> None:
        with self._lock:
            # The device is the node's: this machine may have none, or another one.
            self._pending.append(task.model_copy(update={"device": "auto"}))
        self._wake.set()

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        with suppress(queue.Empty):
            return self._events.get(timeout=timeout_s)
        if self._fault is not None:
            raise self._fault
        return None

    def answer(self, number: int, decision: Decision) -> None:
        self._order(number, NodeOrder(reply=EpochReply(number=number, decision=decision)))

    def kill_trial(self, number: int) -> str:
        with self._lock:
            self._pending = deque(task for task in self._pending if task.number != number)
            nodes = [n for n in self._nodes if n.task is not None and n.task.number == number]
            for node in nodes:
                node.task = None  # none of its events counts from now on
                node.orders.append(NodeOrder(kill=number))
        self._wake.set()
        return "".join(self._wait_for_kill(node) for node in nodes)

    def request_stop(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, deque()
            for node in self._nodes:
                if node.task is not None:
                    node.orders.append(NodeOrder(stop=True))
        for task in pending:
            self._events.put(link_loss_event(task, "the study stops"))
        self._wake.set()

    def close(self) -> None:
        """End all nodes and cancel their jobs."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._wake.set()
        self._thread.join()
        self._mailbox.close()
        deadline = time.monotonic() + CLOSE_S
        while self._nodes and time.monotonic() < deadline:
            for node in list(self._nodes):
                with suppress(MailboxError):
                    if any(report.ended is not None for report in node.channel.read_reports()):
                        self._nodes.remove(node)
            time.sleep(MIN_POLL_S)
        self._jobs.cancel_all()
        self._inputs.close()

    def _order(self, number: int, order: NodeOrder) -> None:
        with self._lock:
            for node in self._nodes:
                if node.task is not None and node.task.number == number:
                    node.orders.append(order)
        self._wake.set()

    def _wait_for_kill(self, node: MailboxNode) -> str:
        try:
            return node.log_tails.get(timeout=KILL_S)
        except queue.Empty:
            reason = f"did not answer within {KILL_S:.0f} s"
            self._lose(node, reason)
            return f"node {node.text} {reason}"

    def _watch(self) -> None:
        """Look at all files until the executor is closed or something is beyond repair."""
        try:
            while not self._closing.is_set():
                self._look()
                self._wake.wait(max(MIN_POLL_S, POLL_S_PER_NODE * len(self._nodes)))
                self._wake.clear()
        except HarnessError as error:
            self._fault = error
        except Exception as error:
            self._fault = HarnessError(f"the mailbox of the study: {type(error).__name__}: {error}")

    def _look(self) -> None:
        for channel in self._mailbox.new_nodes():
            self._add(channel)
        self._roster.update(node.host for node in self._nodes)
        for node in list(self._nodes):
            self._read(node)
            if node.task is None and self._roster.is_left_out(node.host):
                self._leave_out(node)
        if time.monotonic() - self._beaten_at > HEARTBEAT_S:
            self._beaten_at = time.monotonic()
            with suppress(OSError):
                self._mailbox.beat()
            self._lose_silent_nodes()
        self._assign()
        for node in list(self._nodes):
            node.flush()
        for job in self._jobs.look(has_nodes=bool(self._nodes)):
            for node in self._nodes_of(job):
                self._lose(node, "has ended")

    def _add(self, channel: NodeChannel) -> None:
        job = channel.registration.job
        if job is not None:
            for node in self._nodes_of(job):  # its job was requeued
                self._lose(node, "was started again")
            self._jobs.note_registration(job)
        if self._has_other_versions(channel):
            return
        with self._lock:
            self._nodes.append(MailboxNode(channel))

    def _has_other_versions(self, channel: NodeChannel) -> bool:
        """True if a node would compute other numbers; it then ends.

        Raises:
            UserError: no trial has been trained yet.
        """
        registration = channel.registration
        differences = version_differences(registration.versions, self._versions)
        if not differences:
            return False
        line = f"node {registration.host} has {', '.join(differences)}"
        if not self._has_trained:
            raise UserError(f"{line}; install the same versions there")
        self._say(f"{line}: it is left out")
        MailboxNode(channel, orders=deque([NodeOrder(close=True)])).flush()
        self._jobs.drop(registration.job)
        return True

    def _leave_out(self, node: MailboxNode) -> None:
        """End an idle node whose host fails trials; no job is submitted for it."""
        with self._lock:
            if node not in self._nodes:
                return
            self._nodes.remove(node)
        node.orders.append(NodeOrder(close=True))
        node.flush()
        self._jobs.drop(node.channel.registration.job)

    def _nodes_of(self, job: str) -> list[MailboxNode]:
        return [node for node in self._nodes if node.channel.registration.job == job]

    def _read(self, node: MailboxNode) -> None:
        try:
            for report in node.channel.read_reports():
                self._handle(node, report)
        except MailboxError as error:
            self._lose(node, f"cannot be understood: {error}")

    def _handle(self, node: MailboxNode, report: NodeReport) -> None:
        if report.killed is not None:
            node.log_tails.put(report.killed.log_tail)
        if report.report is not None:
            if report.report.note is not None:
                self._say(report.report.note)
            self._deliver(node, report.report.event)
        if report.ended is not None:
            self._lose(node, f"has ended ({report.ended})", is_dead=True)

    def _deliver(self, node: MailboxNode, event: Event | None) -> None:
        """Pass on an event of the node's own task; others are of attempts that have ended."""
        with self._lock:
            task = node.task
            own_ids = None if task is None else (task.number, task.attempt)
            if event is None or (event.number, event.attempt) != own_ids:
                return
            self._roster.note_event(node.host, node.host, event)
            if isinstance(event, TrialFinished | TrialFailed | WorkerDied):
                node.task = None
            elif isinstance(event, TrialStarted):
                event = event.model_copy(update={"host": node.host})
                self._has_trained = True
            self._events.put(event)

    def _lose_silent_nodes(self) -> None:
        for node in list(self._nodes):
            if node.channel.silence_s() > SILENCE_S:
                self._lose(node, f"has been silent for {SILENCE_S:.0f} s")

    def _lose(self, node: MailboxNode, reason: str, *, is_dead: bool = False) -> None:
        """Forget a node: its words have no reader any more, and its trial goes to another one."""
        with self._lock:
            if node not in self._nodes:
                return
            self._nodes.remove(node)
            task, node.task = node.task, None
        if not is_dead:  # it may live and only be cut off
            node.orders.append(NodeOrder(close=True))
            node.flush()
        self._jobs.note_lost(node.channel.registration.job, is_dead=is_dead)
        text = f"node {node.text} {reason}"
        # Without a task it was idle, or its last event says how the trial was saved.
        self._say(f"{text}: trial {task.number} continues on another node" if task else text)
        if task is not None:
            self._events.put(link_loss_event(task, text))

    def _assign(self) -> None:
        """Give waiting tasks to free nodes."""
        with self._lock:
            idle = [node for node in self._nodes if node.task is None]
            while self._pending and idle:
                task = self._pending.popleft()
                try:
                    inputs = self._inputs.build(task)
                except Exception as error:
                    self._events.put(input_failure_event(task, error))
                    continue
                idle[0].task = task
                idle.pop(0).orders.append(NodeOrder(inputs=inputs))
