"""The executor with nodes that are started by hand, on a disk that all of them have."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.paths import Workspace
from harness.execution.cluster.slurm import slurm_executor
from harness.execution.cluster.slurm.job_watch import JobWatch
from harness.execution.cluster.slurm.mailbox import ControllerMailbox
from harness.execution.cluster.slurm.slurm_cluster import SharedDiskInputs
from harness.execution.cluster.slurm.slurm_executor import SlurmExecutor
from harness.execution.local_executor import LocalExecutor
from harness.execution.protocol import EpochReport, TrialFinished, TrialStarted
from harness.execution.slots import Slot
from tests.execution.cluster.nodes import STUDY_ID, TinyStudy, curve
from tests.execution.cluster.slurm.controller_loop import ControllerLoop
from tests.execution.cluster.slurm.mailbox_nodes import drive, kill_workers, start_node

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture
def study(tmp_path: Path, polyps: Path) -> TinyStudy:
    return TinyStudy(Workspace(tmp_path / "controller"), polyps)


class MailboxRun:
    """An executor without Slurm, whose nodes the test starts."""

    def __init__(self, study: TinyStudy) -> None:
        self.mailbox = ControllerMailbox(study.paths.root)
        self.lines: list[str] = []
        self.executor = SlurmExecutor(
            self.mailbox,
            JobWatch(None, 1, self.lines.append),
            SharedDiskInputs(self.mailbox.run, study.paths.root, STUDY_ID),
            say=self.lines.append,
        )
        self.nodes = []

    def start_node(self, **environment: str):
        self.nodes.append(start_node(self.mailbox.run, **environment))
        return self.nodes[-1]


@pytest.fixture
def run(study: TinyStudy) -> Iterator[MailboxRun]:
    run = MailboxRun(study)
    yield run
    run.executor.close()
    codes = [node.wait(20) for node in run.nodes]
    assert all(code in (0, -signal.SIGKILL) for code in codes), "nodes end with the run"


def local_curve(
    study: TinyStudy, number: int, tmp_path: Path, **settings: int
) -> list[dict[str, float]]:
    """Curve of an undisturbed local training."""
    local = LocalExecutor(lambda _: tmp_path / "log", slots=[Slot("cpu", {"OMP_NUM_THREADS": "1"})])
    try:
        local.start(study.task(number, **settings))
        events = drive(local, {number})[number]
    finally:
        local.close()
    assert isinstance(events[-1], TrialFinished)
    return curve(study.trial(number))


def test_a_node_trains_what_waits_for_it_like_a_local_worker(
    study: TinyStudy, run: MailboxRun, tmp_path: Path
) -> None:
    run.executor.start(study.task(0))
    assert run.executor.slots == 0
    assert run.executor.waiting == {0}
    run.start_node()
    events = drive(run.executor, {0})[0]
    assert [type(e) for e in events] == [TrialStarted, *[EpochReport] * 3, TrialFinished]
    assert (run.executor.slots, run.executor.waiting) == (1, set())
    assert curve(study.trial(0)) == local_curve(study, 1, tmp_path)


def test_a_killed_worker_a_signalled_node_and_a_killed_node_lose_nothing(
    study: TinyStudy, run: MailboxRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_executor, "SILENCE_S", 12.0)
    monkeypatch.setattr(slurm_executor, "HEARTBEAT_S", 1.0)
    loop = ControllerLoop(run.executor, study, [0], train__epochs=8)
    first = run.start_node()
    loop.at_epoch(2, lambda: kill_workers(first))

    def end_first() -> None:
        first.send_signal(signal.SIGUSR1)
        run.start_node()

    def kill_second() -> None:
        run.nodes[1].kill()
        run.start_node()

    loop.at_trained(4, end_first)
    loop.at_trained(6, kill_second)
    loop.run(250)
    assert isinstance(loop.ended[0], TrialFinished)
    assert loop.n_attempts == {0: 4}
    assert len(loop.trained) - 8 <= 3, "at most one epoch is repeated for each loss"
    assert first.wait(20) == 0, "a node that was signalled ends by itself"
    assert any("has been silent" in line for line in run.lines)
    assert curve(study.trial(0)) == local_curve(study, 1, tmp_path, train__epochs=8)
