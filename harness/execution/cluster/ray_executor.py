"""Executor that trains on the nodes of a Ray cluster, with one agent per slot.

The controller hands over a task → it waits here for a free agent → the slot of that agent builds
the task's inputs and follows it (`ray_slot.py`). Agents come and go: `slots` is their present
number, and a task whose agent died is given to another one.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from harness.core.errors import StudyStoppedError
from harness.execution.cluster.messages import AgentReport, InputSource, TaskInputs
from harness.execution.cluster.node_failures import link_loss_event
from harness.execution.cluster.ray_agent import FilesActor
from harness.execution.cluster.ray_cluster import RayCluster
from harness.execution.cluster.ray_nodes import NodeRoster
from harness.execution.cluster.ray_slot import RaySlot
from harness.execution.cluster.slot_owner import AgentHolder
from harness.execution.prestart import MODULE
from harness.execution.protocol import Decision, Event, TrialTask

NO_SLOT_S = 20.0  # without any agent, before the user is told; one needs seconds to start
WATCH_S = 1.0  # between two looks at the table of nodes
HEAD_SILENCE_S = 30.0  # without an answer of the head: the study stops
CLOSE_S = 5.0  # for agents to remove their files
_CALL_S = 30.0
_FILES: Any = ray.remote(FilesActor)


class RayExecutor:
    """Train trials on a Ray cluster.

    Args:
        cluster: the connection.
        inputs: collects what tasks need; called on the threads of slots, closed at the end.
        study_id: of the study.
        say: shows a line to the user.
        module: module that worker processes run.
    """

    def __init__(
        self,
        cluster: RayCluster,
        inputs: InputSource,
        *,
        study_id: str,
        say: Callable[[str], None],
        module: str = MODULE,
    ) -> None:
        self.cluster, self.inputs, self.say = cluster, inputs, say
        self.roster = NodeRoster(say)
        settings = cluster.agent_settings(module, study_id)
        self.settings = settings.model_copy(update={"uses_weights": inputs.uses_weights})
        self.closing = threading.Event()
        self.files = _start_files_actor(cluster)
        self.n_bytes = 0
        self.link_rate: float | None = None
        self._events: queue.Queue[Event] = queue.Queue()
        self._lock = threading.Lock()
        self._task_added = threading.Condition(self._lock)
        self._n_added = 0
        self._pending: deque[TrialTask] = deque()
        self._last_node: dict[int, str] = {}  # of trials that lost their agent
        self._is_stopping = False
        self._notes: set[str] = set()
        self._slots: list[RaySlot] = []
        self._head_seen = time.monotonic()
        self._add_slots(cluster.n_workers())
        self._watcher = threading.Thread(target=self._watch, name="ray-watcher", daemon=True)
        self._watcher.start()

    @property
    def slots(self) -> int:
        return sum(slot.is_ready for slot in self._slots)

    @property
    def waiting(self) -> frozenset[int]:
        """Numbers of the trials that wait for an agent or for their files."""
        with self._lock:
            pending = {task.number for task in self._pending}
        return frozenset(pending.union(*(slot.staging_numbers() for slot in self._slots)))

    def start(self, task: TrialTask) -> None:
        shares_gpu = 0 < self.settings.gpus < 1
        with self._lock:
            self._pending.append(task.model_copy(update={"shares_gpu": shares_gpu}))
            self._n_added += 1
            self._task_added.notify_all()

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        with suppress(queue.Empty):
            return self._events.get(timeout=timeout_s)
        silence_s = time.monotonic() - self._head_seen
        if silence_s > HEAD_SILENCE_S:
            raise StudyStoppedError(
                f"the head of the Ray cluster at {self.cluster.address} has not answered for "
                f"{silence_s:.0f} s; when it runs again, the same command continues the study"
            )
        return None

    def answer(self, number: int, decision: Decision) -> None:
        for slot in self._slots_of(number):
            slot.answer(number, decision)

    def kill_trial(self, number: int) -> str:
        with self._lock:
            self._pending = deque(task for task in self._pending if task.number != number)
        return "".join(slot.kill_trial(number) for slot in self._slots_of(number))

    def request_stop(self) -> None:
        with self._lock:
            self._is_stopping = True
            pending, self._pending = self._pending, deque()
        for task in pending:
            self._events.put(link_loss_event(task, "the study stops", number=15))
        for slot in self._slots:
            slot.request_stop()

    def close(self) -> None:
        """Kill all workers; bounded in time, also if the cluster is gone."""
        if self.closing.is_set():
            return
        self.closing.set()
        # Calls to a cluster whose head is gone may never return: on threads that nobody waits for.
        closers = [threading.Thread(target=slot.close, daemon=True) for slot in self._slots]
        closers.append(threading.Thread(target=self._kill_files_actor, daemon=True))
        for closer in closers[:-1]:
            closer.start()
        deadline = time.monotonic() + CLOSE_S
        for closer in closers[:-1]:
            closer.join(max(0.0, deadline - time.monotonic()))
        closers[-1].start()
        closers[-1].join(CLOSE_S)
        self.inputs.close()

    # The following are called by slots.

    def take_task(self, slot: AgentHolder) -> TrialTask | None:
        """Take a waiting task, rather not one that this node has just lost."""
        with self._lock:
            for task in self._pending:
                is_elsewhere_possible = any(
                    other.is_idle and other.node_id != slot.node_id for other in self._slots
                )
                if self._last_node.get(task.number) == slot.node_id and is_elsewhere_possible:
                    continue
                self._pending.remove(task)
                return task
        return None

    @property
    def n_added(self) -> int:
        """Number of tasks that were ever added."""
        return self._n_added

    def wait_for_task(self, n_added: int, timeout_s: float) -> None:
        """Wait until more than `n_added` tasks were added, or the timeout is over."""
        with self._task_added:
            self._task_added.wait_for(lambda: self._n_added > n_added, timeout_s)

    def deliver(self, event: Event) -> None:
        """Pass an event to the controller."""
        if not self.closing.is_set():
            self._events.put(event)

    def note_loss(self, number: int, node_id: str) -> None:
        """Remember on which node a trial lost its agent."""
        with self._lock:
            self._last_node[number] = node_id

    def note_report(self, report: AgentReport) -> None:
        """Count the bytes of a report, note the rate of the link, and show the report's note."""
        with self._lock:
            self.n_bytes += report.n_bytes
            self.link_rate = report.link_rate or self.link_rate
        if report.note is not None:
            self.say_once(report.note)

    def say_once(self, line: str) -> None:
        """Show a line, unless it was shown before."""
        if line not in self._notes:
            self._notes.add(line)
            self.say(line)

    def register(self, inputs: TaskInputs) -> None:
        """Serve the files of an attempt. Raises RayError, GetTimeoutError."""
        ray.get(self.files.register.remote(inputs.model_dump_json()), timeout=_CALL_S)

    def end_attempt(self, inputs: TaskInputs) -> None:
        """Accept no further file of an attempt."""
        with suppress(RayError, GetTimeoutError):
            ray.get(self.files.end_attempt.remote(inputs.model_dump_json()), timeout=_CALL_S)

    def _slots_of(self, number: int) -> list[RaySlot]:
        return [slot for slot in self._slots if slot.holds(number)]

    def _add_slots(self, n_slots: int) -> None:
        n_workers = max(n_slots, len(self._slots))
        self.settings = self.settings.model_copy(update={"n_workers": n_workers})
        while len(self._slots) < n_slots:
            self._slots.append(RaySlot(self, len(self._slots)))
            self._slots[-1].start()

    def _watch(self) -> None:
        """Follow the table of nodes: new ones, those that will be removed, and none at all."""
        wait = _WaitingNote()
        while not self.closing.wait(WATCH_S):
            try:
                self._look_at_nodes()
                if wait.is_due(None if self.slots else self.cluster.capacity()):
                    self.say(self.cluster.waiting_line())
            except Exception as error:
                # Whatever Ray raises without a head; `next_event` tells of it.
                self.say_once(
                    f"the head of the Ray cluster does not answer ({type(error).__name__})"
                )

    def _look_at_nodes(self) -> None:
        nodes = self.cluster.nodes()
        self.roster.update(node.id for node in nodes)
        self._head_seen = time.monotonic()
        for node_id in self.cluster.draining_nodes():
            names = [str(node) for node in nodes if node.id == node_id]
            if names and not self.roster.is_left_out(node_id):
                line = f"node {names[0]} will be removed: its trials are saved"
                self.roster.leave_out(node_id, line)
                for slot in self._slots:
                    slot.preempt_on(node_id)
        if self.cluster.settings.workers is None:
            self._add_slots(self.cluster.capacity())
        self._restore_files_actor()

    def _restore_files_actor(self) -> None:
        """Tell a restarted files actor the running attempts."""
        with suppress(RayError, GetTimeoutError):
            if not ray.get(self.files.is_restored.remote(), timeout=_CALL_S):
                inputs = [slot.inputs for slot in self._slots]
                texts = [i.model_dump_json() for i in inputs if i is not None]
                ray.get(self.files.restore.remote(texts), timeout=_CALL_S)

    def _kill_files_actor(self) -> None:
        with suppress(RayError):
            ray.kill(self.files)


class _WaitingNote:
    """Decides when the user is told for what the study waits.

    The agent of a node that has just joined needs seconds to start: the time begins again with each
    change of what fits on the cluster.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._capacity: int | None = None
        self._since, self._is_told = clock(), False

    def is_due(self, capacity: int | None) -> bool:
        """True once for each wait that has lasted for some time.

        Args:
            capacity: trials that would fit on the cluster; None: there is an agent.
        """
        if capacity != self._capacity:
            self._capacity, self._since, self._is_told = capacity, self._clock(), False
        is_due = capacity is not None and self._clock() - self._since > NO_SLOT_S
        self._is_told, was_told = self._is_told or is_due, self._is_told
        return is_due and not was_told


def _start_files_actor(cluster: RayCluster) -> Any:
    """Start the process that reads and writes files on this machine, and wait for it."""
    affinity = NodeAffinitySchedulingStrategy(cluster.driver_node_id, soft=False)
    actor = _FILES.options(
        num_cpus=0, max_concurrency=16, max_restarts=-1, scheduling_strategy=affinity
    ).remote()
    ray.get(actor.restore.remote([]), timeout=2 * _CALL_S)
    return actor
