"""Process of a node, with an agent and a mailbox of the test."""

import signal
from collections import deque
from typing import Any

import pytest

from harness.execution.cluster.messages import AgentReport
from harness.execution.cluster.slurm import node as node_module
from harness.execution.cluster.slurm.mailbox import NodeOrder, NodeReport
from harness.execution.cluster.slurm.node import SlurmNode, own_job, own_slot
from harness.execution.protocol import EpochReply, WorkerDied
from harness.execution.slots import Slot


class FakeAgent:
    """Records what it is asked; saving a trial ends its worker."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.reports: deque[AgentReport] = deque()

    def next_report(self, timeout_s: float) -> AgentReport | None:
        return self.reports.popleft() if self.reports else None

    def start(self, inputs: Any) -> None:
        self.calls.append(("start", inputs.task.number))

    def answer(self, number: int, decision: str) -> None:
        self.calls.append(("answer", number, decision))

    def kill_trial(self, number: int) -> str:
        self.calls.append(("kill", number))
        return "stacks"

    def request_stop(self) -> None:
        self.calls.append("stop")

    def preempt(self) -> None:
        self.calls.append("preempt")
        died = WorkerDied(number=3, attempt=2, exit_code=-signal.SIGTERM, log_tail="")
        self.reports.append(AgentReport(event=died))

    def close(self) -> None:
        self.calls.append("close")


class FakeMailbox:
    """Gives orders round by round; closed after the last one."""

    def __init__(self, *rounds: list[NodeOrder]) -> None:
        self.rounds, self.sent, self.failures = deque(rounds), [], 0
        self.silence_s, self.stays_open = 0.0, False

    def read_orders(self) -> list[NodeOrder]:
        return self.rounds.popleft() if self.rounds else []

    def send(self, report: NodeReport) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("stale handle")
        self.sent.append(report)

    def beat(self) -> None:
        pass

    def controller_silence_s(self) -> float:
        return self.silence_s

    def is_closed(self) -> bool:
        return not self.rounds and not self.stays_open


class Inputs:
    """What `SlurmNode` reads of the inputs of trial 3, attempt 2."""

    class task:  # noqa: N801
        number, attempt = 3, 2


def start_order() -> NodeOrder:
    return NodeOrder.model_construct(inputs=Inputs)


def run_node(mailbox: FakeMailbox, job: str | None = None) -> tuple[SlurmNode, FakeAgent]:
    agent = FakeAgent()
    return SlurmNode(mailbox, agent, job), agent  # type: ignore[arg-type]


def test_orders_reach_the_agent_and_a_closed_run_ends_the_process() -> None:
    reply = EpochReply(number=3, decision="prune")
    orders = [NodeOrder(reply=reply), NodeOrder(kill=3), NodeOrder(stop=True)]
    mailbox = FakeMailbox([start_order()], orders)
    node, agent = run_node(mailbox)
    node.run()
    expected = [("start", 3), ("answer", 3, "prune"), ("kill", 3), "stop", "close"]
    assert agent.calls == expected
    assert [r.killed.log_tail for r in mailbox.sent if r.killed] == ["stacks"]
    assert mailbox.sent[-1].ended == "the run has ended"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_saves_the_trial_before_the_process_ends(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []
    monkeypatch.setattr(
        node_module.subprocess, "run", lambda words, **_: commands.append(words) or Failed
    )
    mailbox = FakeMailbox([start_order()])
    mailbox.stays_open = True
    node, agent = run_node(mailbox, job="12_3")
    assert not node._serve_once()
    node.on_signal(number, None)
    node.run()
    assert agent.calls == [("start", 3), "preempt", "close"]
    event = mailbox.sent[0].report.event
    assert isinstance(event, WorkerDied)
    assert event.exit_code == -signal.SIGTERM
    assert mailbox.sent[-1].ended == number.name
    # Only the time limit ends a job for good; after SIGTERM it is Slurm's to start it again.
    requeued = [["scontrol", "requeue", "12_3"]]
    assert commands == (requeued if number == signal.SIGUSR1 else [])


class Failed:
    returncode = 1


def test_a_trial_of_a_controller_that_is_gone_is_saved() -> None:
    mailbox = FakeMailbox([start_order()])
    mailbox.stays_open = True
    node, agent = run_node(mailbox)
    assert not node._serve_once()
    mailbox.silence_s = node_module.CONTROLLER_SILENCE_S + 1
    node.run()
    assert agent.calls == [("start", 3), "preempt", "close"]
    assert mailbox.sent[-1].ended == "the controller was silent for 180 s"


def test_no_trial_is_begun_after_a_signal() -> None:
    mailbox = FakeMailbox([], [start_order()])
    node, agent = run_node(mailbox)
    node.on_signal(signal.SIGTERM, None)
    node.run()
    assert ("start", 3) not in agent.calls


def test_reports_wait_for_a_disk_that_fails_and_stay_in_order() -> None:
    mailbox = FakeMailbox([NodeOrder(kill=1), NodeOrder(kill=2)], [], [], [], [])
    mailbox.failures = 2
    node, _ = run_node(mailbox)
    node.run()
    assert [r.killed.number for r in mailbox.sent if r.killed] == [1, 2]


def test_an_order_to_close_ends_the_process_without_a_requeue() -> None:
    mailbox = FakeMailbox([start_order(), NodeOrder(close=True)])
    mailbox.stays_open = True
    node, agent = run_node(mailbox, job="1_0")
    node.run()
    assert agent.calls == [("start", 3), "close"]
    assert mailbox.sent[-1].ended == "ended by the controller"


def test_the_job_of_a_process_is_that_of_its_task() -> None:
    array = {"SLURM_JOB_ID": "77", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "4"}
    assert own_job(array) == "70_4"
    assert own_job({"SLURM_JOB_ID": "77"}) == "77"
    assert own_job({}) is None


@pytest.mark.parametrize(
    ("environment", "slot"),
    [
        ({}, Slot("auto")),
        ({"SLURM_JOB_ID": "1"}, Slot("cpu", {"CUDA_VISIBLE_DEVICES": ""})),
        ({"SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "2"}, Slot("auto")),
        ({"SLURM_JOB_ID": "1", "SLURM_JOB_GPUS": "0"}, Slot("auto")),
    ],
)
def test_a_job_without_a_gpu_sees_none(environment: dict[str, str], slot: Slot) -> None:
    assert own_slot(environment) == slot
