"""A study's trials on a real Slurm of one machine: cancelled, requeued and timed-out nodes."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.errors import StudyStoppedError
from harness.core.paths import Workspace
from harness.execution.cluster.slurm.mailbox import NodeReport
from harness.execution.cluster.slurm.slurm_cluster import open_slurm_executor
from harness.execution.local_executor import LocalExecutor
from harness.execution.protocol import TrialFinished
from harness.execution.slots import Slot
from tests.execution.cluster.nodes import STUDY_ID, TinyStudy, curve
from tests.execution.cluster.slurm.controller_loop import ControllerLoop
from tests.execution.cluster.slurm.slurm_machine import reason_to_skip, slurm_machine

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]
EPOCHS, N_TRIALS = 12, 8


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    if (reason := reason_to_skip()) is not None:
        pytest.skip(reason)
    with slurm_machine() as configuration:
        if isinstance(configuration, str):
            pytest.skip(configuration)
        monkeypatch.setenv("SLURM_CONF", str(configuration))
        yield configuration


def jobs() -> dict[str, str]:
    """State of each job of the array, by its id."""
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(line.split("|") for line in output.splitlines())


def slurm_command(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def end_reasons(study: TinyStudy, job: str) -> list[str]:
    """Reasons for which the nodes of a job have ended, in any order."""
    nodes = study.paths.root.glob(f"cluster/*/nodes/*-{job}-*/reports.jsonl")
    lines = [line for path in nodes for line in path.read_text().splitlines()]
    reports = [NodeReport.model_validate_json(line) for line in lines]
    return [report.ended for report in reports if report.ended is not None]


def test_cancelled_requeued_and_timed_out_nodes_lose_nothing(
    slurm: Path, tmp_path: Path, polyps: Path
) -> None:
    study = TinyStudy(Workspace(tmp_path / "workspace"), polyps)
    lines: list[str] = []
    executor = open_slurm_executor(
        study.paths.root,
        STUDY_ID,
        n_workers=4,
        say=lines.append,
        options=("--time=1", "--signal=B:USR1@20"),
    )
    loop = ControllerLoop(executor, study, numbers=range(N_TRIALS), train__epochs=EPOCHS)

    def disturb() -> None:
        slurm_command("scancel", "1_0")
        slurm_command("scancel", "1_1")
        slurm_command("scontrol", "requeue", "1_2")

    loop.at_epoch(12, disturb)
    try:
        loop.run(400)
        states = jobs()
    finally:
        executor.close()
    assert {states["1_0"], states["1_1"]} == {"CANCELLED"}, "what a user cancels stays so"
    assert set(states) == {"1_0", "1_1", "1_2", "1_3"}, "nothing else was submitted"
    assert "SIGTERM" in end_reasons(study, "1_2")
    assert "SIGUSR1" in end_reasons(study, "1_3"), "saved before the time limit"
    assert len(list(study.paths.root.glob("cluster/*/nodes/*-1_3-*"))) >= 2, "and started again"
    assert [type(event) for event in loop.ended.values()] == [TrialFinished] * N_TRIALS
    n_lost = sum(loop.n_attempts.values()) - N_TRIALS
    assert n_lost >= 4
    assert len(loop.trained) - N_TRIALS * EPOCHS <= n_lost, "at most one epoch is repeated for each"
    local = TinyStudy(Workspace(tmp_path / "local"), polyps)
    slots = [Slot("cpu", {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})] * 2
    undisturbed = LocalExecutor(lambda index: tmp_path / f"{index}.log", slots=slots)
    try:
        ControllerLoop(undisturbed, local, range(N_TRIALS), train__epochs=EPOCHS).run(300)
    finally:
        undisturbed.close()
    for number in range(N_TRIALS):
        assert curve(study.trial(number)) == curve(local.trial(number))
        assert len(curve(study.trial(number))) == EPOCHS
    wait_for_no_jobs()


def wait_for_no_jobs() -> None:
    end = time.monotonic() + 30
    while set(jobs().values()) & {"RUNNING", "PENDING", "COMPLETING", "REQUEUED"}:
        assert time.monotonic() < end, jobs()
        time.sleep(0.5)


def test_jobs_of_a_killed_controller_are_cancelled_by_the_next(
    slurm: Path, tmp_path: Path, polyps: Path
) -> None:
    study = TinyStudy(Workspace(tmp_path / "workspace"), polyps)
    lines: list[str] = []
    # A second executor while the first one is open: for Slurm the same as after SIGKILL.
    first = open_slurm_executor(study.paths.root, STUDY_ID, n_workers=2, say=lines.append)
    second = open_slurm_executor(study.paths.root, STUDY_ID, n_workers=1, say=lines.append)
    try:
        loop = ControllerLoop(second, study, numbers=[0])
        loop.run()
        states = jobs()
        assert isinstance(loop.ended[0], TrialFinished)
        of_first = {state for job, state in states.items() if job.startswith("1")}
        assert of_first <= {"CANCELLED", "COMPLETED", "COMPLETING"}, states
    finally:
        second.close()
        first.close()


def test_jobs_that_cannot_start_end_the_study_with_the_end_of_their_log(
    slurm: Path, tmp_path: Path, polyps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = TinyStudy(Workspace(tmp_path / "workspace"), polyps)
    broken = tmp_path / "broken"
    (broken / "pydantic").mkdir(parents=True)
    (broken / "pydantic" / "__init__.py").write_text("raise ImportError('no such library')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    executor = open_slurm_executor(study.paths.root, STUDY_ID, n_workers=3, say=print)
    try:
        with pytest.raises(StudyStoppedError, match="ImportError: no such library"):
            ControllerLoop(executor, study, numbers=[0]).run(60)
    finally:
        executor.close()
