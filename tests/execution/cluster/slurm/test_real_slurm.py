"""`harness run --cluster slurm` on a real Slurm of one machine, through the command line."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.core.records import read_record, read_records
from tests.execution.cluster.chaos import epoch_lines, results_of, study_of
from tests.execution.cluster.slurm.slurm_machine import reason_to_skip, slurm_machine
from tests.execution.cluster.slurm.slurm_study import (
    WatchedCommand,
    files_with,
    job_processes,
    listening_ports,
    n_epochs,
    run_command,
    slurm_words,
    states,
    wait_for,
    wait_for_no_jobs,
    write_gated_space,
)

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]
LOGIN_NODE_BYTES = 10**9
SECRET = "s3cr3t-0123456789"
SECRET_NAMES = (
    *("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "RAY_AUTH_TOKEN"),
    *("PGPASSWORD", "SSH_AUTH_SOCK", "http_proxy", "MY_OWN_VARIABLE", "HARNESS_PASSWORD"),
)
N_TRIALS, EPOCHS = 6, 12
Study = list[dict[str, Any]]


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """Environment of a command that finds Slurm."""
    if (reason := reason_to_skip()) is not None:
        pytest.skip(reason)
    with slurm_machine() as configuration:
        if isinstance(configuration, str):
            pytest.skip(configuration)
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        yield os.environ | threads | {"SLURM_CONF": str(configuration)}


@pytest.fixture(scope="module")
def near(slurm: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Workspace of the same study, undisturbed and on this machine alone."""
    folder = tmp_path_factory.mktemp("near")
    options, gate = write_gated_space(folder / "space", EPOCHS)
    gate.touch()
    words = ("--trials", str(N_TRIALS), "--workspace", str(folder / "work"), "--device", "cpu")
    run_command(slurm, folder / "log", *options, *words)
    return folder / "work"


@dataclass
class DisturbedStudy:
    """A study of four jobs: two were cancelled, one was requeued, one met its time limit.

    Attributes:
        ports: on which processes of jobs listened.
        leaks: files and processes that held a secret while the study ran.
    """

    workspace: Path
    command: WatchedCommand
    ports: list[int]
    leaks: list[str]
    n_searched: int


@pytest.fixture(scope="module")
def disturbed(slurm: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> DisturbedStudy:
    folder = tmp_path_factory.mktemp("far")
    options, gate = write_gated_space(folder / "space", EPOCHS)
    workspace = folder / "work"
    command = WatchedCommand(
        slurm | dict.fromkeys(SECRET_NAMES, SECRET),
        folder / "log",
        *(*options, "--trials", str(N_TRIALS), "--workspace", str(workspace)),
        *("--cluster", "slurm", "--workers", "4", "--sbatch", "--time=10"),
    )
    try:
        wait_for(
            lambda: (
                command.process.poll() is not None
                or all(n_epochs(workspace, number) for number in range(4))
            ),
            lambda: command.output,
        )
        leaks, n_searched = find_leaks(slurm)
        ports = listening_ports(job_processes(Path(slurm["SLURM_CONF"])))
        disturb(slurm, command)
        gate.touch()
        assert command.wait() == 0, command.output
    finally:
        command.kill()
    return DisturbedStudy(workspace, command, ports, leaks, n_searched)


def find_leaks(slurm: dict[str, str]) -> tuple[list[str], int]:
    """Secrets in Slurm's files and answers, and in the processes of the running jobs."""
    configuration = Path(slurm["SLURM_CONF"])
    n_files, found = files_with(SECRET, configuration.parent)
    leaks = [str(path) for path in found]
    processes = job_processes(configuration)
    leaks += [str(process) for process in processes if SECRET in str(process.environ())]
    leaks += [str(process) for process in processes if SECRET in str(process.cmdline())]
    jobs = slurm_words(slurm, "scontrol", "show", "job", "--details", "--oneliner")
    assert jobs.count("JobName=harness-s-") == 4 and len(processes) >= 8
    return leaks + (["scontrol"] if SECRET in jobs else []), n_files


def disturb(slurm: dict[str, str], command: WatchedCommand) -> None:
    """Two jobs are cancelled, one is requeued, and one meets its time limit."""
    jobs = sorted(states(slurm))
    assert len(jobs) == 4, jobs
    # A user's change of the limit works as if it had been requested: the signal comes 120 s before.
    limit = ["scontrol", "update", f"JobId={jobs[3]}"]
    slurm_words(slurm, *limit, "TimeLimit=2")
    slurm_words(slurm, "scancel", jobs[0], jobs[1])
    slurm_words(slurm, "scontrol", "requeue", jobs[2])
    command.wait_for_line(f"(job {jobs[3]}) has ended (SIGUSR1)")
    wait_for(lambda: states(slurm).get(jobs[3]) == "PENDING", lambda: str(states(slurm)))
    slurm_words(slurm, *limit, "TimeLimit=60")
    for job in jobs[:2]:
        command.wait_for_line(f"job {job} was cancelled")
    command.wait_for_line(f"(job {jobs[2]}) has ended (SIGTERM)")


@pytest.mark.smoke
def test_cancelled_requeued_and_ended_jobs_lose_nothing(
    slurm: dict[str, str], disturbed: DisturbedStudy, near: Path
) -> None:
    paths, output = study_of(disturbed.workspace), disturbed.command.output
    assert results_of(paths) == results_of(study_of(near))
    records = read_records(paths)
    assert [record.state for record in records] == ["complete"] * N_TRIALS
    assert sum(record.attempt for record in records) == N_TRIALS + 4, "four were continued"
    assert len(epoch_lines(paths)) == N_TRIALS * EPOCHS, "no epoch was trained twice"
    assert all(record.host and record.precision == records[0].precision for record in records)
    assert "4 workers as jobs of Slurm" in output and "2 jobs left" in output
    assert "submitted again" not in output, "a requeued job is the same job"
    wait_for_no_jobs(slurm)


def test_the_controller_fits_on_a_login_node(disturbed: DisturbedStudy) -> None:
    command = disturbed.command
    text = f"{command.peak / 1e6:.0f} MB, {command.cpu_s:.1f} s of processor time"
    sys.stdout.write(f"controller: {text}\n")
    assert command.peak < LOGIN_NODE_BYTES
    assert command.libraries, "its maps were read"
    assert not [path for path in command.libraries if "libtorch" in path]


@pytest.mark.smoke
def test_no_secret_leaves_the_controller_and_no_port_is_opened(
    slurm: dict[str, str], disturbed: DisturbedStudy
) -> None:
    assert disturbed.n_searched > 4 and disturbed.leaks == []
    assert disturbed.ports == [] and disturbed.command.listeners == set()
    workspace = disturbed.workspace
    words = ("report", "--study", "s", "--workspace", str(workspace))
    run_command(slurm, workspace / "report.log", *words)
    assert study_of(workspace).report_html.exists()
    scratch = Path(f"/tmp/harness-{os.getuid()}")  # of the nodes, which have no TMPDIR
    n_files, found = files_with(SECRET, workspace.parent, Path(slurm["SLURM_CONF"]).parent, scratch)
    names = {path.name for path in workspace.rglob("*")}
    assert n_files > 50 and {"mlflow.db", "optuna.db", "trial.json", "node.sh"} <= names
    assert found == []


def test_a_confirmation_and_the_test_images_give_what_they_give_locally(
    slurm: dict[str, str], disturbed: DisturbedStudy, near: Path, tmp_path: Path
) -> None:
    confirm = ("confirm", "--study", "s", "--top", "1", "--seeds", "2", "--workspace")
    cluster = ("--cluster", "slurm", "--workers", "2")
    output = run_command(slurm, tmp_path / "1", *confirm, str(disturbed.workspace), *cluster)
    assert "2 workers as jobs of Slurm" in output
    run_command(slurm, tmp_path / "2", *confirm, str(near), "--device", "cpu")
    far_study, near_study = study_of(disturbed.workspace), study_of(near)
    assert results_of(far_study.confirm) == results_of(near_study.confirm)
    assert [record.state for record in read_records(far_study.confirm)] == ["complete"] * 2
    wait_for_no_jobs(slurm)
    scores = []
    for name, workspace in (("3", disturbed.workspace), ("4", near)):
        words = ("test", "--study", "s", "--workspace", str(workspace), "--device", "cpu")
        text = run_command(slurm, tmp_path / name, *words)
        scores.append([line for line in text.splitlines() if "dice" in line.lower()])
    assert scores[0] and scores[0] == scores[1]


def test_a_killed_controller_is_continued_with_exactly_its_trials(
    slurm: dict[str, str], near: Path, tmp_path: Path
) -> None:
    options, gate = write_gated_space(tmp_path / "space", EPOCHS)
    workspace = tmp_path / "far"
    words = (*options, "--trials", "3", "--workspace", str(workspace))
    words += ("--cluster", "slurm", "--workers", "2")
    first = WatchedCommand(slurm, tmp_path / "1", *words)
    wait_for(
        lambda: n_epochs(workspace, 0) or first.process.poll() is not None, lambda: first.output
    )
    first.kill()
    before = set(states(slurm))
    assert len(before) == 2, first.output
    gate.touch()
    second = run_command(slurm, tmp_path / "2", *words)
    assert results_of(study_of(workspace)) == results_of(study_of(near))[:3]
    assert read_record(study_of(workspace).trial(0).trial_json).attempt == 2
    assert "numbers may differ from before" not in second
    wait_for_no_jobs(slurm)
