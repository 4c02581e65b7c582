"""Agent of a node: hosts one ordinary worker, far from the controller's disk.

Life of a task: the inputs arrive → the agent fetches what the node has not → a local executor with
one slot trains → files that changed are sent, then the event that tells of them. Nothing here
depends on Ray or Slurm, which only carry the messages.
"""

import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import HarnessError
from harness.execution.cluster.attempt_files import AttemptFiles, open_attempt_files
from harness.execution.cluster.checkpoint_store import CheckpointStore
from harness.execution.cluster.file_transfer import ControllerLink
from harness.execution.cluster.messages import AgentReport, TaskInputs
from harness.execution.cluster.node_failures import link_loss_event, node_failure_event, with_host
from harness.execution.cluster.node_scratch import NodeScratch
from harness.execution.cluster.staging import StagedTask, TaskStager
from harness.execution.cluster.trial_sender import StaleTransferError
from harness.execution.local_executor import LocalExecutor
from harness.execution.prestart import MODULE
from harness.execution.protocol import (
    Decision,
    Event,
    TrialFailed,
    TrialFinished,
    TrialTask,
    WorkerDied,
)
from harness.execution.slots import Slot

TICK_S = 0.2  # between two looks for a checkpoint that is due
CONTACT_TIMEOUT_S = 120.0
_ANY_DEVICE = Slot("auto")


@dataclass
class _Attempt:
    """State of the attempt that the agent serves; the flags are set by other threads."""

    inputs: TaskInputs
    outgoing: AttemptFiles | None = None
    is_started: bool = False
    stop_requested: bool = False
    preempted: bool = False
    killed: bool = False

    @property
    def task(self) -> TrialTask:
        return self.inputs.task


class NodeAgent:
    """Trains one trial after another for a controller on another machine.

    Any thread may call its methods. They return immediately, except `kill_trial` and `close`; and
    `next_report` waits as long as it is told. All work happens on a thread of the agent, since the
    kernel kills a worker when the thread that started it ends.

    Args:
        scratch: folder of this node for files; shared by the agents of one user.
        link: connection to the controller's disk.
        slot: device and environment of the worker.
        module: module that the worker process runs.
        n_workers: workers of the study that send checkpoints over the same link.
        store: takes the checkpoints instead of that link.
        uses_weights: start the worker now, for tasks with or without pretrained weights; None:
            with its first task.
        contact_timeout_s: seconds without any call after which the controller counts as gone; None:
            the caller watches it.
        on_orphaned: called when the controller has gone and the worker was killed.

    Raises:
        UserError: the scratch folder belongs to another user.
    """

    def __init__(
        self,
        scratch: Path,
        link: ControllerLink,
        *,
        slot: Slot = _ANY_DEVICE,
        module: str = MODULE,
        n_workers: int = 1,
        store: CheckpointStore | None = None,
        uses_weights: bool | None = None,
        contact_timeout_s: float | None = CONTACT_TIMEOUT_S,
        on_orphaned: Callable[[], None] = lambda: None,
    ) -> None:
        self._scratch, self._link, self._store = NodeScratch(scratch), link, store
        self._stager = TaskStager(self._scratch, link, store)
        self._slot, self._module, self._n_workers = slot, module, n_workers
        self._local: LocalExecutor | None = None
        self._environment: Mapping[str, str] = {}
        self._reports: queue.Queue[AgentReport] = queue.Queue()
        self._orders: queue.Queue[_Attempt | None] = queue.Queue()
        self._lock = threading.Lock()  # between the start of a worker and a request to end it
        self._attempt: _Attempt | None = None
        self._link_rate: float | None = None
        self._has_noted_budget, self._closed = False, threading.Event()
        self._contact_timeout_s, self._on_orphaned = contact_timeout_s, on_orphaned
        self._last_contact = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(uses_weights,), daemon=True)
        self._thread.start()
        if contact_timeout_s is not None:
            threading.Thread(target=self._watch_contact, daemon=True).start()

    def start(self, inputs: TaskInputs) -> None:
        """Stage and train a trial; starting a second one before the first has ended is a bug."""
        self.record_contact()
        attempt = _Attempt(inputs)
        with self._lock:
            self._attempt = attempt
        self._orders.put(attempt)

    def next_report(self, timeout_s: float) -> AgentReport | None:
        """Wait for the next report; None after `timeout_s`.

        Args:
            timeout_s: shorter than `contact_timeout_s`, or the agent believes itself alone.
        """
        self.record_contact()
        try:
            return self._reports.get(timeout=timeout_s)
        except queue.Empty:
            return None

    @property
    def is_staging(self) -> bool:
        """True while the files of a trial are fetched, so that no worker can report yet."""
        attempt = self._attempt
        return attempt is not None and not attempt.is_started

    def answer(self, number: int, decision: Decision) -> None:
        """Send the decision about the epoch that trial `number` has just reported."""
        self.record_contact()
        if (local := self._local) is not None:
            local.answer(number, decision)

    def kill_trial(self, number: int) -> str:
        """Kill the worker of trial `number`, send what it left, and return the end of its log."""
        self.record_contact()
        with self._lock:
            attempt = self._attempt
            if attempt is None or attempt.task.number != number:
                return ""
            attempt.killed = True
            is_started, local = attempt.is_started, self._local
        log_tail = local.kill_trial(number) if is_started and local is not None else ""
        if attempt.outgoing is not None:
            with suppress(HarnessError):  # the next attempt starts from what has arrived before
                attempt.outgoing.send_before_event(is_last=True)
        return log_tail

    def request_stop(self) -> None:
        """Request the trial to stop at its next step; it ends as "stopped", with all its files."""
        self._request("stop")

    def preempt(self) -> None:
        """Save the trial, since this node will end: it reports `WorkerDied` by SIGTERM."""
        self._request("preempt")

    def record_contact(self) -> None:
        """Note that the controller is alive."""
        self._last_contact = time.monotonic()

    def close(self) -> None:
        """Kill the worker and remove the agent's folder; any thread may call it, even twice."""
        with self._lock:  # no worker is started after this
            self._closed.set()
        if self._local is not None:
            self._local.close()  # before the thread ends, which may be waiting for a dead link
        self._orders.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._scratch.close()

    def _request(self, kind: str) -> None:
        self.record_contact()
        with self._lock:
            attempt = self._attempt
            if attempt is None:
                return
            attempt.stop_requested |= kind == "stop"
            attempt.preempted |= kind == "preempt"
            if attempt.is_started:
                self._pass_on_requests(attempt)

    def _pass_on_requests(self, attempt: _Attempt) -> None:
        assert self._local is not None
        if attempt.preempted:
            self._local.preempt()
        elif attempt.stop_requested:
            self._local.request_stop()

    def _run(self, uses_weights: bool | None) -> None:
        try:
            with self._lock, suppress(OSError):  # its first task meets the same fault again
                if uses_weights is not None and not self._closed.is_set():
                    self._executor(self._stager.own_environment(uses_weights)).warm_up()
            while not self._closed.is_set() and (attempt := self._orders.get()) is not None:
                self._serve_safely(attempt)
        finally:
            if self._local is not None:
                self._local.close()

    def _serve_safely(self, attempt: _Attempt) -> None:
        """Serve an attempt; every fault of this node becomes an event."""
        error: Exception | None = None
        try:
            self._serve(attempt)
        except Exception as caught:
            error = caught
        with self._lock:
            if self._attempt is attempt:
                self._attempt = None
            attempt.is_started = False
        if self._local is not None and (error is not None or attempt.stop_requested):
            self._local.close()  # a worker that was requested to stop would stop its next trial
        if attempt.outgoing is not None:
            attempt.outgoing.close()
        if error is not None and not attempt.killed and not isinstance(error, StaleTransferError):
            self._report(attempt, node_failure_event(attempt.task, error))

    def _serve(self, attempt: _Attempt) -> None:
        staged = self._stager.stage(attempt.inputs)
        self._link_rate = staged.link_rate or self._link_rate
        local = self._executor(staged.environment)
        if not staged.is_shared:
            attempt.outgoing = open_attempt_files(
                self._link,
                staged.task,
                store=self._store,
                n_workers=self._n_workers,
                link_rate=self._link_rate,
                pause=self._closed.wait,
            )
        if not self._start_worker(attempt, staged, local):
            return
        while not (attempt.killed or self._closed.is_set()):
            event = local.next_event(TICK_S)
            if event is None:
                if attempt.outgoing is not None:
                    attempt.outgoing.send_due_checkpoint()
            elif (event.number, event.attempt) == (attempt.task.number, attempt.task.attempt):
                is_last = isinstance(event, TrialFinished | TrialFailed | WorkerDied)
                if attempt.outgoing is not None:
                    attempt.outgoing.send_before_event(is_last=is_last)
                    self._link_rate = attempt.outgoing.sender.link_rate
                    event = with_host(event)
                self._report(attempt, event)
                if is_last:
                    return

    def _start_worker(self, attempt: _Attempt, staged: StagedTask, local: LocalExecutor) -> bool:
        """Start the worker, unless the attempt was ended while its files were fetched."""
        with self._lock:
            if attempt.killed or self._closed.is_set():
                return False
            if attempt.preempted:
                reason = "its node ended before the training began"
                self._report(attempt, link_loss_event(attempt.task, reason, signal.SIGTERM))
                return False
            local.start(staged.task)
            attempt.is_started = True
            self._pass_on_requests(attempt)
            return True

    def _executor(self, environment: Mapping[str, str]) -> LocalExecutor:
        """The executor, with a warm worker unless its environment changes."""
        if self._local is None or environment != self._environment:
            if self._local is not None:
                self._local.close()
            slot = Slot(self._slot.device, dict(environment) | dict(self._slot.environment))
            log = self._scratch.log
            self._local = LocalExecutor(lambda _: log, slots=[slot], module=self._module)
            self._environment = environment
        return self._local

    def _report(self, attempt: _Attempt, event: Event) -> None:
        if attempt.outgoing is None:
            return self._reports.put(AgentReport(event=event))
        report = attempt.outgoing.make_report(event, with_note=not self._has_noted_budget)
        self._has_noted_budget |= report.note is not None
        return self._reports.put(report)

    def _watch_contact(self) -> None:
        """End the worker when the controller has been silent for too long."""
        assert self._contact_timeout_s is not None
        while not self._closed.wait(min(1.0, self._contact_timeout_s / 4)):
            if time.monotonic() - self._last_contact > self._contact_timeout_s:
                self.close()
                self._on_orphaned()
