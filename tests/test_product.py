"""The product as a user meets it: commands in a workspace, real training on tiny images."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import optuna
import pytest

import harness
from harness.core import strict_yaml
from harness.core.paths import StudyPaths, Workspace
from harness.core.records import read_epochs, read_records
from harness.search.storage.storage import open_storage
from harness.training.hardware.device import pick_device, pick_precision
from tests.conftest import TINY, harness_command, in_every_process

pytestmark = pytest.mark.slow

# Installed into every process through PYTHONPATH: notes and refuses what is not loopback.
WATCH = """
import os, sys
log = os.environ["SOCKET_LOG"]
def note(line):
    with open(log, "a") as out:
        out.write(line + "\\n")
note(f"process {os.getpid()} {sys.argv[:2] if hasattr(sys, 'argv') else ''}")
def hook(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "", "localhost", "127.0.0.1"):
        note(f"lookup {arguments[0]}")
        raise OSError("no network")
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            note(f"connect {address}")
            raise OSError("no network")
sys.addaudithook(hook)
"""


def space_file(workspace: Path, **fixed: object) -> Path:
    path = workspace / "search_spaces" / "tiny.yaml"
    path.parent.mkdir(exist_ok=True)
    content = TINY | {"fixed": {**TINY["fixed"], **fixed}}
    path.write_text(strict_yaml.dump_yaml(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, polyps: Path) -> Path:
    """A workspace with a study `tiny` of seven trials, some of them pruned, and its report.

    It ran while every connection but loopback was refused.
    """
    workspace = tmp_path_factory.mktemp("finished")
    env = in_every_process(workspace / "watch", WATCH)
    env["SOCKET_LOG"] = str(workspace / "sockets.log")
    space_file(workspace, **{"train.epochs": 3})
    study = workspace / "studies" / "tiny" / "study.yaml"
    study.parent.mkdir(parents=True)
    pruner = {"name": "percentile", "n_startup_trials": 2, "warmup": 0.0, "n_min_trials": 1}
    study.write_text(strict_yaml.dump_yaml({"pruner": pruner}), encoding="utf-8")
    options = ["--space", "tiny.yaml", "--data", str(polyps), "--trials", "7"]
    done = harness_command(workspace, "run", *options, **env)
    assert done.returncode == 0, done.stderr
    (workspace / "stderr.txt").write_text(done.stderr, encoding="utf-8")
    report = harness_command(workspace, "report", "--study", "tiny", **env)
    assert report.returncode == 0, report.stderr
    (workspace / "stdout.txt").write_text(report.stdout, encoding="utf-8")
    return workspace


def test_first_line_names_everything_and_last_the_next_command(finished: Path) -> None:
    lines = (finished / "stderr.txt").read_text(encoding="utf-8").splitlines()
    precision = pick_precision("auto", pick_device())
    for word in ("study tiny", "polyps", "device", f", {precision} ·", f"workspace {finished}"):
        assert word in lines[0]
    report = finished / "studies" / "tiny" / "report.html"
    assert lines[-3:-1] == [f"report: {report}", "MLflow: harness ui"]
    assert lines[-1] == "next: harness confirm --study tiny"
    assert sum(line.startswith("trial ") for line in lines) == 7


def test_no_process_tried_to_reach_the_network(finished: Path) -> None:
    lines = (finished / "sockets.log").read_text(encoding="utf-8").splitlines()
    processes = [line for line in lines if line.startswith("process")]
    assert len(processes) >= 3, "run, its worker and report were watched"
    assert [line for line in lines if line not in processes] == []


def test_report_mlflow_csv_and_optuna_hold_the_same_numbers(finished: Path) -> None:
    """Objective value and validation Dice of every trial: the same float64 in all four."""
    paths = StudyPaths(finished / "studies" / "tiny")
    html = paths.report_html.read_text(encoding="utf-8")
    data = re.search(r'<script[^>]*id="harness-data"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert data is not None
    report = {trial["number"]: trial for trial in json.loads(data[1])["trials"]}

    with paths.trials_csv.open(encoding="utf-8", newline="") as handle:
        table = {int(row["number"]): row for row in csv.DictReader(handle)}

    storage = open_storage(finished / "optuna.db")
    trials = optuna.load_study(study_name="tiny", storage=storage).trials

    client = mlflow.MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = {
        int(run.data.tags["harness.trial"].split("/")[1]): run
        for run in client.search_runs([experiment.experiment_id])
        if "harness.trial" in run.data.tags
    }
    assert set(report) == set(table) == set(runs) == {t.number for t in trials} == set(range(7))
    for trial in trials:
        number, run = trial.number, runs[trial.number]
        best = min(trial.intermediate_values.values())
        if trial.state is optuna.trial.TrialState.COMPLETE:
            assert trial.value == best
        assert run.data.metrics["best/dice_loss"] == best
        assert float(table[number]["value"]) == best
        assert report[number]["value"] == best
        dice = run.data.metrics["best/dice"]
        assert float(table[number]["best/dice"]) == dice
        assert report[number]["best"]["best/dice"] == dice
        rate = trial.params["optim.lr"]
        assert float(table[number]["optim.lr"]) == rate == float(run.data.params["optim.lr"])
        epochs = client.get_metric_history(run.info.run_id, "val/dice_loss")
        assert {m.step - 1: m.value for m in epochs} == trial.intermediate_values
    pruned = [t.number for t in trials if t.state is optuna.trial.TrialState.PRUNED]
    assert pruned, "the study must hold both kinds"
    assert all(runs[number].info.status == "KILLED" for number in pruned)
    assert all(table[number]["state"] == "pruned" for number in pruned)


def test_leaderboard_is_printed(finished: Path) -> None:
    out = (finished / "stdout.txt").read_text(encoding="utf-8")
    assert "complete trials, best val/dice_loss first" in out
    assert re.search(r"[1-7] complete, [1-6] pruned, 0 failed", out)


def test_same_command_again_does_nothing_and_more_trials_add(finished: Path, polyps: Path) -> None:
    options = ["--space", "tiny.yaml", "--data", str(polyps)]
    again = harness_command(finished, "run", *options, "--trials", "7")
    assert again.returncode == 0
    assert "7 trials are finished, 7 were requested: nothing to do" in again.stderr
    assert "trial 7" not in again.stderr
    changed = harness_command(finished, "run", *options, "--trials", "8", "--set", "train.epochs=9")
    assert changed.returncode == 2
    assert "fixed.train.epochs: 3 -> 9" in changed.stderr
    assert len(read_records(StudyPaths(finished / "studies" / "tiny"))) == 7


def test_python_api_says_the_same_as_the_command_line(finished: Path) -> None:
    study = harness.open_study("tiny", workspace=finished)
    assert len(study.trials) == 7
    best = study.best
    assert best is not None
    complete = study.trials[study.trials["state"] == "complete"]
    assert best.value == complete["value"].min()


def test_run_study_from_a_dict(workspace: Path, polyps: Path) -> None:
    study = harness.run_study("dict", space=TINY, data=polyps, trials=1, fixed={"train.epochs": 1})
    assert list(study.trials["state"]) == ["complete"]
    assert study.best is not None and study.best.epochs == 1
    assert Workspace(workspace).optuna_db.exists()


def wait_for(what: Callable[[], bool], *, timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)  # a poll for the event, not a guess at its time


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_study_continues_with_the_same_trials(
    workspace: Path, polyps: Path, kill: signal.Signals
) -> None:
    fixed = {"train.epochs": 6, "train.checkpoint_s": 0.0}
    space_file(workspace, **fixed)
    command = ["--space", "tiny.yaml", "--data", str(polyps), "--trials", "2"]
    command += ["--pruner", "none"]
    # What a shell starts in the background ignores SIGINT, and so would all that these tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    controller = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", *command],
        cwd=workspace,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    paths = StudyPaths(workspace / "studies" / "tiny")
    wait_for(lambda: len(read_epochs(paths.trial(0))) >= 2)
    before = read_records(paths)[0]
    controller.send_signal(kill)
    code = controller.wait(timeout=60)
    assert code == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[kill]
    log = paths.worker_log(0)
    done = harness_command(workspace, "run", *command)
    assert done.returncode == 0, done.stderr + log.read_text(encoding="utf-8")
    assert "trial 0  continues (attempt 2)" in done.stderr
    records = read_records(paths)
    assert [record.state for record in records] == ["complete", "complete"]
    assert records[0].params == before.params
    for number in (0, 1):
        epochs = [line["epoch"] for line in read_epochs(paths.trial(number))]
        assert epochs == [1, 2, 3, 4, 5, 6]
