"""Slot of a Ray cluster: gets an agent placed, gives it trials, and notices that it is gone."""

import threading
import time
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    GetTimeoutError,
    NodeDiedError,
    RayError,
    RayTaskError,
)

from harness.execution.cluster.messages import AgentReport, NodeFacts, TaskInputs
from harness.execution.cluster.node_failures import input_failure_event, link_loss_event
from harness.execution.cluster.ray_agent import AgentActor
from harness.execution.cluster.ray_cluster import ClusterNode
from harness.execution.cluster.slot_owner import SlotOwner
from harness.execution.protocol import (
    Decision,
    Event,
    TrialFailed,
    TrialFinished,
    TrialStarted,
    TrialTask,
    WorkerDied,
)

POLL_S = 5.0  # an agent without a report answers after this time
# A busy machine may answer late; a dead one never does. An agent that is silent for longer is
# replaced, and what its trial has computed since its last checkpoint is computed again.
SILENCE_S = 25.0
_AGENT: Any = ray.remote(AgentActor)
_IDLE_S, _BUSY_S = 0.1, 1.0  # longest waits for a report, before other news are looked at
_KILL_S = 20.0
FACTS_S = 240.0  # for a node that imports torch from a slow disk
_RETRY_S = 3.0  # before an agent is placed again whose start failed


class _SilentAgentError(Exception):
    """An agent has not answered for too long."""


class RaySlot:
    """One agent, or the wish for one.

    Attributes:
        node_id: node of the agent; "" before it is placed.
        is_ready: the agent can train or trains.
        inputs: of the present attempt.
    """

    def __init__(self, executor: SlotOwner, index: int) -> None:
        self._executor, self._index = executor, index
        self.node_id, self.is_ready = "", False
        self.inputs: TaskInputs | None = None
        self._name = ""  # of the node
        self._task: TrialTask | None = None
        self._actor: Any = None
        self._is_staging = False
        self._lock = threading.Lock()  # between the end of an attempt and requests from outside
        self._thread = threading.Thread(target=self._run, name=f"ray-slot-{index}", daemon=True)

    @property
    def is_idle(self) -> bool:
        """True if the agent waits for a task."""
        return self.is_ready and self._task is None

    def start(self) -> None:
        """Begin to place an agent."""
        self._thread.start()

    def holds(self, number: int) -> bool:
        """True if the agent trains this trial."""
        task = self._task
        return task is not None and task.number == number

    def staging_numbers(self) -> set[int]:
        """The trial whose files the agent fetches, if it does so."""
        task = self._task
        return {task.number} if task is not None and self._is_staging else set()

    def answer(self, number: int, decision: Decision) -> None:
        """Send the decision about an epoch."""
        if (actor := self._actor) is not None:
            actor.answer.remote(number, decision)

    def request_stop(self) -> None:
        """Request the trial to stop."""
        if (actor := self._actor) is not None and self._task is not None:
            actor.request_stop.remote()

    def preempt_on(self, node_id: str) -> None:
        """Save the trial if the agent is on this node."""
        if self.node_id == node_id and (actor := self._actor) is not None:
            actor.preempt.remote()

    def kill_trial(self, number: int) -> str:
        """End the attempt at a trial; the end of its worker's log."""
        with self._lock:
            if not self.holds(number):
                return ""
            self._task, inputs, actor = None, self.inputs, self._actor
        log_tail = ""
        try:
            if actor is not None:
                log_tail = ray.get(actor.kill_trial.remote(number), timeout=_KILL_S)
        except (RayError, GetTimeoutError) as error:
            log_tail = f"its agent on {self._name} did not answer: {type(error).__name__}"
            _kill_actor(actor)  # the slot notices, and places another one
        if inputs is not None:
            self._executor.end_attempt(inputs)
        return log_tail

    def close(self) -> None:
        """Kill the agent with its worker."""
        actor = self._actor
        if actor is not None:
            with suppress(RayError, GetTimeoutError):
                ray.get(actor.close.remote(), timeout=3.0)
            _kill_actor(actor)

    def _run(self) -> None:
        closing = self._executor.closing
        while not closing.is_set():
            try:
                if self._place():
                    self.is_ready = True
                    self._serve()
            except (RayError, GetTimeoutError, _SilentAgentError) as error:
                if not closing.is_set():
                    self._lose_agent(error)
            finally:
                self.is_ready = False
            self._drop_actor()
            closing.wait(_IDLE_S)

    def _place(self) -> bool:
        """Place an agent and wait for it; False if it has to be tried again."""
        executor = self._executor
        excluded = executor.roster.excluded()
        selector = {"ray.io/node-id": f"!in({','.join(sorted(excluded))})"} if excluded else None
        self._actor = _AGENT.options(
            num_cpus=executor.settings.threads,
            num_gpus=executor.settings.gpus,
            max_concurrency=8,
            scheduling_strategy="SPREAD",
            **({} if selector is None else {"label_selector": selector}),
        ).remote(executor.settings.model_dump_json(), executor.files)
        reference = self._actor.identity.remote()
        while not ray.wait([reference], timeout=_BUSY_S)[0]:
            # A new exclusion: it may wait for a node that will never answer.
            if executor.closing.is_set() or executor.roster.excluded() - excluded:
                return False
        self.node_id, host, _ = ray.get(reference)
        addresses = [n.address for n in executor.cluster.nodes() if n.id == self.node_id]
        self._name = f"{host} ({addresses[0]})" if addresses else host
        return not executor.roster.is_left_out(self.node_id) and self._check_node()

    def _check_node(self) -> bool:
        """Compare the versions of a node that has joined after the start; False: leave it out."""
        cluster, problems = self._executor.cluster, []
        if self.node_id not in cluster.facts:
            try:
                text = ray.get(self._actor.facts.remote(), timeout=FACTS_S)
            except RayTaskError as error:  # e.g. its GPU cannot be used
                problems = [f"node {self._name}: {_last_line(error)}"]
            else:
                cluster.facts[self.node_id] = NodeFacts.model_validate_json(text)
        problems = problems or cluster.node_problems(self.node_id, self._name)
        for problem in problems:
            self._executor.roster.leave_out(self.node_id, f"{problem}: it is left out")
        return not problems

    def _serve(self) -> None:
        """Give the agent one task after another until it is gone or its node is left out."""
        executor, reference, asked_at = self._executor, None, 0.0
        while not executor.closing.is_set():
            n_added = executor.n_added
            if self._task is None:
                if executor.roster.is_left_out(self.node_id):
                    return
                if (task := executor.take_task(self)) is not None:
                    self._begin(task)
            if reference is None:
                reference, asked_at = self._actor.next_report.remote(POLL_S), time.monotonic()
            wait_s = _BUSY_S
            if self._task is None:
                executor.wait_for_task(n_added, _IDLE_S)
                wait_s = 0.0
            if ray.wait([reference], timeout=wait_s)[0]:
                text, self._is_staging = ray.get(reference)
                reference = None
                if text is not None:
                    self._handle(AgentReport.model_validate_json(text))
            elif time.monotonic() - asked_at > SILENCE_S:
                raise _SilentAgentError

    def _begin(self, task: TrialTask) -> None:
        """Build the inputs of a task and send them; a fault on this machine ends the attempt."""
        executor = self._executor
        self._task, self._is_staging, self.inputs = task, True, None
        try:
            inputs = executor.inputs.build(task)
        except Exception as error:
            return self._end(input_failure_event(task, error))
        self.inputs = inputs
        executor.register(inputs)
        ray.get(self._actor.start.remote(inputs.model_dump_json()), timeout=SILENCE_S)
        return None

    def _handle(self, report: AgentReport) -> None:
        executor, task, event = self._executor, self._task, report.event
        executor.note_report(report)
        if event is None or task is None:
            return
        if (event.number, event.attempt) != (task.number, task.attempt):
            return  # of an attempt that was ended from here
        executor.roster.note_event(self.node_id, self._name, event)
        if isinstance(event, TrialStarted):
            event = event.model_copy(update={"host": self._name.partition(" ")[0]})
        if isinstance(event, TrialFinished | TrialFailed | WorkerDied):
            if not isinstance(event, TrialFinished):
                executor.note_loss(task.number, self.node_id)
            self._end(event)
        else:
            executor.deliver(event)

    def _end(self, event: Event) -> None:
        """End the attempt with its last event, unless it was killed meanwhile."""
        with self._lock:
            if self._task is None:
                return
            self._task, inputs, self.inputs = None, self.inputs, None
        if inputs is not None:
            self._executor.end_attempt(inputs)
        self._executor.deliver(event)

    def _lose_agent(self, error: Exception) -> None:
        """The agent is gone or does not answer: its trial is continued by another one."""
        executor, task = self._executor, self._task
        # Before anything else: an actor that is only unavailable must never speak again.
        _kill_actor(self._actor)
        is_silent = isinstance(error, _SilentAgentError | GetTimeoutError)
        if self.node_id and (is_silent or isinstance(error, ActorUnavailableError | NodeDiedError)):
            executor.roster.note_lost(self.node_id)
        reason = f"has not answered for {SILENCE_S:.0f} s" if is_silent else "has lost its agent"
        if task is None:
            if not self.node_id:  # it could not even be started
                node = self._node_of_agent()
                if node is not None:  # tried again after some time
                    executor.roster.note_lost(node.id)
                where = "" if node is None else f" on node {node}"
                executor.say_once(f"an agent could not be started{where}: {_last_line(error)}")
                executor.closing.wait(_RETRY_S)
            return
        executor.say(f"node {self._name} {reason}: trial {task.number} continues on another agent")
        executor.note_loss(task.number, self.node_id)
        self._end(link_loss_event(task, f"node {self._name} {reason}: {error}"[:2000]))

    def _node_of_agent(self) -> ClusterNode | None:
        """The node on which the agent could not be started; None if it is unknown."""
        with suppress(Exception):  # whatever Ray raises without a head
            return self._executor.cluster.node_of(self._actor)
        return None

    def _drop_actor(self) -> None:
        _kill_actor(self._actor)
        self._actor, self.node_id, self._name, self._is_staging = None, "", "", False


def _kill_actor(actor: Any) -> None:
    if actor is not None:
        with suppress(RayError, ValueError):
            ray.kill(actor)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300]
