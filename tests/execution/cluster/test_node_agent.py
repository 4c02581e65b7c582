"""The agent with a worker that writes the files of a training without torch."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.core.paths import TrialPaths
from harness.core.records import read_epochs
from harness.execution.cluster.checkpoint_store import CheckpointStore
from harness.execution.cluster.file_receiver import ControllerFiles
from harness.execution.cluster.messages import ChunkReply, TaskInputs
from harness.execution.cluster.node_agent import NodeAgent
from harness.execution.cluster.staging import write_probe
from harness.execution.protocol import (
    EpochReport,
    TrialFailed,
    TrialFinished,
    TrialStarted,
    WorkerDied,
)
from tests.execution.cluster.links import FaultyLink, corrupt, drop
from tests.execution.cluster.nodes import drive, kill_worker, live_workers, start_agent
from tests.execution.cluster.plain import STUDY_ID, plain_inputs, resumable

MODULE = "tests.execution.cluster.writing_worker"
EPOCHS = 4


class AgentDriver:
    """Agents, the controller's folder of one trial, and the link between them."""

    def __init__(self, root: Path) -> None:
        self.root, self.trial = root, TrialPaths(root / "controller" / "0000")
        self.trial.root.mkdir(parents=True, exist_ok=True)
        self.files = ControllerFiles()
        self.link: Any = self.files
        self.agents: list[NodeAgent] = []

    def agent(self, node: str = "node", **options: Any) -> NodeAgent:
        agent = start_agent(self.root / node, self.link, module=MODULE, **options)
        self.agents.append(agent)
        return agent

    def inputs(self, **changes: Any) -> TaskInputs:
        root = self.trial.root
        inputs = plain_inputs(root, files=resumable(root), **changes)
        self.files.register(inputs)
        far = inputs.task.model_copy(update={"trial_dir": Path("/far-away/0000")})
        return inputs.model_copy(update={"task": far})

    def values(self) -> list[float]:
        return [line["val/dice_loss"] for line in read_epochs(self.trial)]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))
    driver = AgentDriver(tmp_path)
    yield driver
    for agent in driver.agents:
        agent.close()


@pytest.fixture
def whole_values(tmp_path: Path, driver: AgentDriver) -> list[float]:
    """The curve of an undisturbed training."""
    (tmp_path / "whole").mkdir()
    whole = AgentDriver(tmp_path / "whole")
    agent = whole.agent()
    agent.start(whole.inputs())
    drive(agent, 0)
    agent.close()
    assert len(set(whole.values())) == EPOCHS
    return whole.values()


def test_files_lie_here_before_their_event(driver: AgentDriver) -> None:
    agent = driver.agent()
    agent.start(driver.inputs())
    seen = []

    def on_epoch(epoch: int) -> Any:
        header = driver.trial.checkpoint.read_bytes().split(b"\n", 1)[0]
        overlay = driver.trial.overlay(epoch, 0).exists()
        seen.append((len(driver.values()), f'"epoch": {epoch},'.encode() in header, overlay))
        return "continue"

    events = drive(agent, 0, on_epoch)
    assert [type(event) for event in events] == [
        TrialStarted,
        *[EpochReport] * EPOCHS,
        TrialFinished,
    ]
    assert seen == [(epoch, True, True) for epoch in range(1, EPOCHS + 1)]
    assert (driver.trial.model / "model.safetensors").stat().st_size == 200_000
    assert driver.trial.checkpoint_previous.exists()
    assert not driver.trial.trial_json.exists(), "the record is the controller's alone"


@pytest.mark.parametrize("uses_weights", [False, True])
def test_worker_that_runs_before_its_task_trains_it(
    driver: AgentDriver, uses_weights: bool
) -> None:
    """Unless it was started for tasks with pretrained weights, and this one has none."""
    agent = driver.agent(uses_weights=uses_weights)
    end = time.monotonic() + 60
    while not live_workers(MODULE) and time.monotonic() < end:
        time.sleep(0.05)
    (early,) = live_workers(MODULE)
    agent.start(driver.inputs())
    assert isinstance(drive(agent, 0)[-1], TrialFinished)
    assert ([early] == live_workers(MODULE)) != uses_weights
    assert len(driver.values()) == EPOCHS


def test_closed_agent_leaves_no_early_worker(driver: AgentDriver) -> None:
    agent = driver.agent(uses_weights=False)
    agent.close()
    assert live_workers(MODULE) == []


def test_hostile_names_stay_on_the_node(driver: AgentDriver) -> None:
    agent = driver.agent()
    agent.start(driver.inputs(seed=4))
    assert isinstance(drive(agent, 0)[-1], TrialFinished)
    names = {path.name for path in driver.trial.root.rglob("*") if path.is_file()}
    overlays = {f"{epoch}-0.png" for epoch in range(1, EPOCHS + 1)}
    log_and_model = {"epochs.jsonl", "checkpoint", "checkpoint.previous", "model.safetensors"}
    assert names == log_and_model | overlays


@pytest.mark.parametrize("node", ["node", "other"], ids=["same node", "other node"])
def test_killed_worker_goes_on_from_what_arrived(
    driver: AgentDriver, whole_values: list[float], node: str
) -> None:
    first = driver.agent()
    first.start(driver.inputs(seed=1))
    events = drive(first, 0, lambda epoch: kill_at(epoch, 2, driver))
    assert isinstance(events[-1], WorkerDied) and events[-1].exit_code == -signal.SIGKILL
    assert len(driver.values()) == 2
    second = driver.agent(node)
    second.start(driver.inputs(attempt=2))
    epochs = [e.epoch for e in drive(second, 0) if isinstance(e, EpochReport)]
    assert epochs == [3, 4], "nothing is trained twice"
    assert driver.values() == whole_values


def kill_at(epoch: int, last: int, driver: AgentDriver) -> Any:
    if epoch == last:
        kill_worker(MODULE)
    return "continue"


def test_lost_agent_writes_nothing_after_the_next_has_begun(
    driver: AgentDriver, whole_values: list[float]
) -> None:
    lost = driver.agent()
    lost.start(driver.inputs())
    while not isinstance(report(lost).event, EpochReport):
        pass
    second = driver.agent("other")
    second.start(driver.inputs(attempt=2))
    drive(second, 0)
    before = files_of(driver.trial.root)
    lost.answer(0, "continue")  # its worker goes on, and its files have no reader
    assert lost.next_report(1.0) is None
    assert driver.values() == whole_values and files_of(driver.trial.root) == before


def report(agent: NodeAgent) -> Any:
    received = agent.next_report(60)
    assert received is not None
    return received


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "faults",
    [
        {"spoil_write": drop(*range(2, 40, 3))},
        {"spoil_write": corrupt(*range(1, 40, 4))},
        {"after_write": drop(*range(3, 40, 5))},
        {"spoil_read": corrupt(1), "spoil_write": drop(1, 2, 5)},
    ],
    ids=["drops", "corrupt bytes", "lost replies", "both ways"],
)
def test_link_with_faults_changes_no_byte(
    driver: AgentDriver, whole_values: list[float], faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_waiting(monkeypatch)
    driver.link = FaultyLink(driver.files, **faults)
    agent = driver.agent()
    agent.start(driver.inputs())
    assert isinstance(drive(agent, 0)[-1], TrialFinished)
    assert driver.values() == whole_values
    lines = driver.trial.epochs_jsonl.read_bytes().count(b"\n")
    assert lines == EPOCHS, "no line twice"


def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("trial_sender", "file_transfer"):
        monkeypatch.setattr(f"harness.execution.cluster.{module}.backoff_s", lambda _: 0.0)


def test_cut_link_ends_the_attempt_as_a_preemption(
    driver: AgentDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_waiting(monkeypatch)
    driver.link = FaultyLink(driver.files, spoil_write=drop(*range(5, 1000)))
    agent = driver.agent()
    agent.start(driver.inputs())
    event = drive(agent, 0)[-1]
    assert isinstance(event, WorkerDied) and event.exit_code == -signal.SIGKILL
    assert "the link was cut" in event.log_tail
    assert not workers(), "its worker is dead when the trial begins again"


def workers() -> list[psutil.Process]:
    return live_workers(MODULE)


def test_full_disk_of_the_controller_is_waited_for_there(driver: AgentDriver) -> None:
    full = ChunkReply(status="full", message="No space left", folder=driver.trial.root)
    driver.link = FaultyLink(
        driver.files, after_write=lambda count, reply: full if count == 4 else reply
    )
    agent = driver.agent()
    agent.start(driver.inputs())
    event = drive(agent, 0)[-1]
    assert isinstance(event, TrialFailed) and event.failure.cause == "disk_full"
    assert event.full_folder == driver.trial.root and "No space left" in event.failure.message
    assert not workers()
    agent.start(driver.inputs(attempt=2))
    assert isinstance(drive(agent, 0)[-1], TrialFinished)


def test_full_disk_of_a_node_names_the_node(
    driver: AgentDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "node7")
    agent = driver.agent()
    agent.start(driver.inputs(seed=2))
    event = drive(agent, 0)[-1]
    assert isinstance(event, TrialFailed) and event.failure.cause == "disk_full"
    assert event.full_folder == Path("node7:/scratch")
    assert event.failure.message == "node7: OSError: [Errno 28]"


def test_stop_saves_everything(driver: AgentDriver, whole_values: list[float]) -> None:
    agent = driver.agent()
    agent.start(driver.inputs())

    def on_epoch(epoch: int) -> Any:
        if epoch == 2:
            agent.request_stop()
            time.sleep(0.2)
        return "continue"

    event = drive(agent, 0, on_epoch)[-1]
    assert isinstance(event, TrialFinished) and event.result.outcome == "stopped"
    agent.start(driver.inputs(attempt=2))
    drive(agent, 0)
    assert driver.values() == whole_values


def test_notice_of_preemption_saves_and_ends_as_one(driver: AgentDriver) -> None:
    agent = driver.agent()
    agent.start(driver.inputs())

    def on_epoch(epoch: int) -> Any:
        if epoch == 2:
            agent.preempt()
            time.sleep(0.2)
        return "continue"

    event = drive(agent, 0, on_epoch)[-1]
    assert isinstance(event, WorkerDied) and event.exit_code == -signal.SIGTERM
    assert len(driver.values()) == 2 and driver.trial.checkpoint.exists()


def test_abandoned_trial_leaves_its_files_and_stacks(driver: AgentDriver) -> None:
    agent = driver.agent()
    agent.start(driver.inputs(seed=1))
    for _ in range(3):
        if isinstance(report(agent).event, EpochReport):
            agent.answer(0, "continue")
    stacks = agent.kill_trial(0)
    assert "writing_worker.py" in stacks
    assert len(driver.values()) == 2 and not workers()
    assert agent.next_report(0.5) is None, "no word of the attempt that was killed"
    agent.start(driver.inputs(attempt=2))
    assert isinstance(drive(agent, 0)[-1], TrialFinished)


def test_budget_holds_checkpoints_back_until_the_end(
    driver: AgentDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at the start, then none for hours; the last with the end."""
    monkeypatch.setattr("harness.execution.cluster.attempt_files.checkpoint_interval_s", hours)
    driver.link = FaultyLink(driver.files)
    agent = driver.agent()
    inputs = driver.inputs()
    config = inputs.task.config
    train = config.train.model_copy(update={"checkpoint_s": 30.0})
    task = inputs.task.model_copy(update={"config": config.model_copy(update={"train": train})})
    agent.start(inputs.model_copy(update={"task": task}))

    def on_epoch(_: int) -> Any:
        time.sleep(0.5)
        return "continue"

    drive(agent, 0, on_epoch)
    ends = [c for c in driver.link.chunks if c.path == "checkpoint" and c.sha256 is not None]
    assert len(ends) == 2
    assert driver.trial.checkpoint.read_bytes().startswith(b'{"epoch": 4')


def hours(*_: object) -> float:
    return 7200.0


def test_preemption_while_files_arrive_needs_no_worker(driver: AgentDriver) -> None:
    gate = threading.Event()

    def wait(_: int, data: bytes) -> bytes:
        assert gate.wait(30)
        return data

    driver.trial.epochs_jsonl.write_bytes(b'{"epoch": 1}\n')
    driver.link = FaultyLink(driver.files, spoil_read=wait)
    agent = driver.agent()
    agent.start(driver.inputs())
    assert agent.is_staging
    agent.preempt()
    gate.set()
    (event,) = drive(agent, 0)
    assert isinstance(event, WorkerDied) and event.exit_code == -signal.SIGTERM
    assert not workers()
    agent.start(driver.inputs(attempt=2))
    assert isinstance(report(agent).event, TrialStarted) and not agent.is_staging


def test_agent_ends_with_a_controller_that_has_gone(driver: AgentDriver) -> None:
    orphaned = threading.Event()
    agent = driver.agent(contact_timeout_s=2.0, on_orphaned=orphaned.set)
    agent.start(driver.inputs(seed=3))
    assert isinstance(report(agent).event, TrialStarted)
    assert orphaned.wait(30)
    assert not workers()
    assert list((driver.root / "node" / "agents").iterdir()) == []


def test_nothing_is_sent_where_the_disk_is_shared(driver: AgentDriver, tmp_path: Path) -> None:
    driver.link = FaultyLink(driver.files)
    agent = driver.agent()
    probe = write_probe(tmp_path / "probe")
    agent.start(plain_inputs(driver.trial.root, probe=probe))
    assert isinstance(drive(agent, 0)[-1], TrialFinished)
    assert len(driver.values()) == EPOCHS
    assert (driver.link.n_reads, driver.link.n_writes) == (0, 0)


@pytest.mark.parametrize("make_url", [str, lambda _: "memory://agents"], ids=["folder", "bucket"])
def test_scratch_takes_checkpoints_off_the_link(
    driver: AgentDriver,
    whole_values: list[float],
    tmp_path: Path,
    make_url: Callable[[Path], str],
) -> None:
    url = make_url(tmp_path / "scratch")
    first = driver.agent(store=CheckpointStore(url, STUDY_ID))
    first.start(driver.inputs(seed=1))
    events = drive(first, 0, lambda epoch: kill_at(epoch, 2, driver))
    assert isinstance(events[-1], WorkerDied)
    second = driver.agent("other", store=CheckpointStore(url, STUDY_ID))
    second.start(driver.inputs(attempt=2))
    epochs = [e.epoch for e in drive(second, 0) if isinstance(e, EpochReport)]
    assert epochs == [3, 4] and driver.values() == whole_values
    assert not driver.trial.checkpoint.exists(), "none crossed the link"


def test_store_that_is_behind_gives_way_to_the_controller(
    driver: AgentDriver, whole_values: list[float], tmp_path: Path
) -> None:
    """The second run was without --scratch, and came further."""
    url = str(tmp_path / "scratch")
    first = driver.agent(store=CheckpointStore(url, STUDY_ID))
    first.start(driver.inputs())
    drive(first, 0, lambda epoch: "stop" if epoch == 1 else "continue")
    second = driver.agent("other")
    second.start(driver.inputs(attempt=2))
    drive(second, 0, lambda epoch: "stop" if epoch == 3 else "continue")
    third = driver.agent("third", store=CheckpointStore(url, STUDY_ID))
    third.start(driver.inputs(attempt=3))
    epochs = [e.epoch for e in drive(third, 0) if isinstance(e, EpochReport)]
    assert epochs == [4] and driver.values() == whole_values


def test_agent_itself_does_not_import_torch() -> None:
    code = (
        "import sys, harness.execution.cluster.node_agent;"
        "print(*({'torch', 'numpy', 'cv2', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "", "an agent would cost half a gigabyte of its node"
