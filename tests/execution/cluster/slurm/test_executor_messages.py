"""The executor with nodes that a test plays: messages, lost nodes, stale words."""

import errno
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.core.records import TrialFailure
from harness.execution.cluster.messages import AgentReport, TaskInputs
from harness.execution.cluster.node_facts import own_versions
from harness.execution.cluster.slurm import slurm_executor
from harness.execution.cluster.slurm.job_watch import LOOK_S, SOON_S, JobWatch
from harness.execution.cluster.slurm.mailbox import (
    ControllerMailbox,
    KillReply,
    NodeChannel,
    NodeMailbox,
    NodeOrder,
    NodeRegistration,
    NodeReport,
)
from harness.execution.cluster.slurm.slurm_cluster import SharedDiskInputs
from harness.execution.cluster.slurm.slurm_executor import SlurmExecutor
from harness.execution.protocol import Event, TrialFailed, TrialStarted, TrialTask, WorkerDied
from tests.execution.cluster.plain import STUDY_ID, plain_task
from tests.execution.cluster.slurm.test_job_watch import FakeQueue


class PlayedRun:
    def __init__(self, study: Path, queue: FakeQueue | None = None) -> None:
        self.study, self.lines, self.closed, self.now = study, [], [], 0.0
        self.mailbox = ControllerMailbox(study)
        self.executor = SlurmExecutor(
            self.mailbox,
            JobWatch(queue, 1, self.lines.append, lambda: self.now),
            SharedDiskInputs(self.mailbox.run, study, STUDY_ID, lambda: self.closed.append(1)),
            say=self.lines.append,
        )

    def node(self, host: str = "n1", job: str | None = None, **versions: str) -> NodeMailbox:
        registration = NodeRegistration(
            host=host, pid=1, job=job, versions=dict(own_versions()) | versions
        )
        return NodeMailbox(self.mailbox.run, registration)

    def task(self, number: int = 0, attempt: int = 1) -> TrialTask:
        folder = self.study / "trials" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trial.json").write_text("{}")
        return plain_task(folder, number=number, attempt=attempt)

    def quiet(self) -> bool:
        """True if no event comes for some looks at the files."""
        return self.executor.next_event(1.0) is None


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedRun]:
    monkeypatch.setattr(slurm_executor, "CLOSE_S", 0.5)
    run = PlayedRun(tmp_path / "study")
    yield run
    run.executor.close()


def wait_for(condition: Callable[[], object]) -> object:
    end = time.monotonic() + 20
    while not (result := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return result


def next_order(node: NodeMailbox) -> NodeOrder:
    orders = wait_for(node.read_orders)
    assert isinstance(orders, list) and len(orders) == 1
    return orders[0]


def started(attempt: int, number: int = 0) -> NodeReport:
    event = TrialStarted(number=number, attempt=attempt, device="cpu", precision="fp32")
    return NodeReport(report=AgentReport(event=event))


def next_event(run: PlayedRun) -> Event:
    event = run.executor.next_event(20)
    assert event is not None
    return event


def test_a_task_waits_for_a_node_and_takes_the_device_of_it(run: PlayedRun) -> None:
    run.executor.start(run.task())
    assert (run.executor.slots, run.executor.waiting) == (0, {0})
    node = run.node()
    inputs = next_order(node).inputs
    assert inputs is not None
    assert inputs.task.device == "auto", "not that of the controller"
    assert (run.executor.slots, run.executor.waiting) == (1, set())
    assert inputs.shared_probe is not None and inputs.shared_probe.path.exists()


def test_events_of_another_attempt_have_no_reader(run: PlayedRun) -> None:
    node = run.node("n7")
    run.executor.start(run.task(attempt=2))
    next_order(node)
    node.send(started(attempt=1))
    node.send(started(attempt=2, number=5))
    assert run.quiet()
    node.send(started(attempt=2))
    event = next_event(run)
    assert isinstance(event, TrialStarted)
    assert (event.attempt, event.host) == (2, "n7")


def test_the_trial_of_a_node_that_ends_goes_to_another_one(run: PlayedRun) -> None:
    node = run.node()
    run.executor.start(run.task())
    next_order(node)
    node.send(NodeReport(ended="SIGTERM"))
    event = next_event(run)
    assert isinstance(event, WorkerDied)
    assert event.exit_code == -signal.SIGKILL, "counts as a pre-emption"
    other = run.node("n2")
    run.executor.start(run.task(attempt=2))
    inputs = next_order(other).inputs
    assert inputs is not None and inputs.task.attempt == 2
    assert run.lines == ["node n1 has ended (SIGTERM): trial 0 continues on another node"]


def test_the_trial_of_a_job_that_has_ended_goes_to_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_executor, "CLOSE_S", 0.5)
    queue = FakeQueue(tmp_path)
    run = PlayedRun(tmp_path / "study", queue)
    try:
        node = run.node(job="1_0")
        run.executor.start(run.task())
        next_order(node)
        queue.set(j1_0="NODE_FAIL")
        run.now += LOOK_S + SOON_S
        event = next_event(run)
        assert isinstance(event, WorkerDied) and "has ended" in event.log_tail
        wait_for(lambda: len(run.lines) == 2)
        assert "jobs ended: 1_0 (NODE_FAIL); submitted again: 2_0" in run.lines
        other = run.node("n2", job="2_0")
        run.executor.start(run.task(attempt=2))
        inputs = next_order(other).inputs
        assert inputs is not None and inputs.task.attempt == 2
    finally:
        run.executor.close()
    assert queue.cancelled == ["1_0", "all"], "the first one may only be cut off"


def test_orders_wait_for_a_shared_disk_that_does_not_answer(
    run: PlayedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, send = [OSError("stale handle")] * 3, NodeChannel.send

    def fail_first(channel: NodeChannel, order: NodeOrder) -> None:
        if failures:
            raise failures.pop()
        send(channel, order)

    monkeypatch.setattr(NodeChannel, "send", fail_first)
    node = run.node()
    run.executor.start(run.task())
    assert next_order(node).inputs is not None
    assert failures == [] and run.executor.slots == 1


def test_a_silent_node_is_given_up_and_told_so(
    run: PlayedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_executor, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(slurm_executor, "SILENCE_S", 1.0)
    node = run.node()
    run.executor.start(run.task())
    next_order(node)
    event = next_event(run)
    assert isinstance(event, WorkerDied)
    assert "silent" in event.log_tail
    node.send(started(attempt=1))  # it wakes
    assert next_order(node).close
    assert run.quiet()
    assert run.executor.slots == 0


def test_a_node_that_beats_is_not_given_up(run: PlayedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_executor, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(slurm_executor, "SILENCE_S", 1.0)
    node = run.node()
    wait_for(lambda: run.executor.slots)
    for _ in range(20):
        node.beat()
        time.sleep(0.1)
    assert run.executor.slots == 1


def test_a_job_that_starts_again_replaces_its_earlier_process(run: PlayedRun) -> None:
    first = run.node(job="5_1")
    run.executor.start(run.task())
    next_order(first)
    second = run.node(job="5_1")
    event = next_event(run)
    assert isinstance(event, WorkerDied)
    assert "was started again" in event.log_tail
    assert next_order(first).close
    run.executor.start(run.task(attempt=2))
    assert next_order(second).inputs is not None
    assert run.executor.slots == 1


def test_a_killed_trial_returns_the_log_of_its_worker(run: PlayedRun) -> None:
    node = run.node()
    run.executor.start(run.task())
    next_order(node)
    node.send(NodeReport(killed=KillReply(number=0, log_tail="stack of a thread")))
    assert run.executor.kill_trial(0) == "stack of a thread"
    assert next_order(node).kill == 0
    node.send(started(attempt=1))
    assert run.quiet(), "the attempt has ended"
    assert run.executor.kill_trial(7) == "", "no such trial"


def test_a_node_that_does_not_answer_a_kill_is_given_up(
    run: PlayedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_executor, "KILL_S", 0.5)
    node = run.node()
    run.executor.start(run.task())
    next_order(node)
    assert "did not answer within" in run.executor.kill_trial(0)
    assert run.executor.slots == 0


def test_a_stop_reaches_nodes_and_returns_waiting_trials(run: PlayedRun) -> None:
    node = run.node()
    run.executor.start(run.task(0))
    next_order(node)
    run.executor.start(run.task(1))
    wait_for(lambda: run.executor.waiting == {1})
    run.executor.request_stop()
    assert next_order(node).stop
    event = next_event(run)
    assert isinstance(event, WorkerDied) and event.number == 1
    assert not run.executor.waiting


def test_a_node_with_other_versions_ends_the_command_before_trial_0(run: PlayedRun) -> None:
    run.executor.start(run.task())
    run.node("n9", torch="1.0.0")
    with pytest.raises(UserError, match=r"node n9 has torch 1\.0\.0 instead of .*; install"):
        wait_for(lambda: run.executor.next_event(0.2))


def test_a_later_node_with_other_versions_is_left_out(run: PlayedRun) -> None:
    node = run.node()
    run.executor.start(run.task())
    next_order(node)
    node.send(started(attempt=1))
    next_event(run)
    stranger = run.node("n9", torch="1.0.0")
    assert next_order(stranger).close
    assert run.executor.slots == 1
    assert "n9 has torch 1.0.0" in run.lines[0]


def test_a_closed_run_tells_all_nodes_and_closes_its_inputs(run: PlayedRun) -> None:
    node = run.node()
    wait_for(lambda: run.executor.slots)
    assert not node.is_closed()
    run.executor.close()
    assert node.is_closed()
    assert run.closed == [1]


def test_a_new_run_closes_those_of_earlier_controllers(run: PlayedRun) -> None:
    node = run.node()
    later = ControllerMailbox(run.study)
    assert node.is_closed()
    assert later.earlier_tokens() == [run.mailbox.token]
    assert later.run.stat().st_mode & 0o077 == 0, "orders make workers run code"
    later.remove_earlier_runs()
    assert not run.mailbox.run.exists()


def test_a_damaged_registration_is_no_node(run: PlayedRun) -> None:
    folder = run.mailbox.run / "nodes" / "n1-0-12345678"
    folder.mkdir()
    (folder / "registration.json").write_text('{"host": "n1", "pid": 1, "job": "5; rm"}')
    assert run.quiet()
    assert run.executor.slots == 0


def test_a_host_with_the_same_cause_three_times_is_left_out(run: PlayedRun) -> None:
    node = run.node("bad")
    for attempt in (1, 2, 3):
        run.executor.start(run.task(attempt=attempt))
        next_order(node)
        if attempt == 1:
            run.node("good")
            wait_for(lambda: run.executor.slots == 2)
            run.executor.start(run.task(1))  # so that the tasks below are for the first node
            wait_for(lambda: not run.executor.waiting)
        failure = TrialFailure(cause="crashed", message="a broken driver")
        failed = TrialFailed(number=0, attempt=attempt, failure=failure)
        node.send(NodeReport(report=AgentReport(event=failed)))
        assert next_event(run) == failed
    assert next_order(node).close
    wait_for(lambda: run.executor.slots == 1)
    assert run.lines == [
        "node bad is left out: 3 trials in a row failed there with the same cause (crashed); the "
        "others continue"
    ]


def test_inputs_that_cannot_be_built_end_the_attempt_alone(
    run: PlayedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault on the controller's machine does not end the command; the next trial is placed."""
    build = SharedDiskInputs.build

    def fail_once(inputs: SharedDiskInputs, task: TrialTask) -> TaskInputs:
        if task.number == 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(run.study))
        return build(inputs, task)

    monkeypatch.setattr(SharedDiskInputs, "build", fail_once)
    node = run.node()
    run.executor.start(run.task(0))
    event = run.executor.next_event(20)
    assert isinstance(event, TrialFailed) and event.failure.cause == "disk_full"
    assert event.number == 0 and event.full_folder == run.study
    run.executor.start(run.task(1))
    order = next_order(node)
    assert order.inputs is not None and order.inputs.task.number == 1
