"""What `harness status` says of studies that run: epochs, time left, memory, GPUs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli.status import render_status
from harness.core.paths import Workspace
from harness.core.study_lock import hold_study_lock
from harness.maintenance.status import GpuUse, gpu_use, running_studies, trial_seconds_left
from tests.report.studies import Builder, a_study


def test_rest_of_a_trial_follows_from_the_times_of_its_epochs() -> None:
    """Epochs of 10 s; 4 of 10 are done, the last one ended 3 s ago: 6 * 10 - 3 = 57 s."""
    times = [0.0, 10_000.0, 20_000.0, 30_000.0]
    assert trial_seconds_left(times, 10, now_ms=33_000.0) == 57.0
    assert trial_seconds_left([0.0, 10_000.0, 500_000.0, 510_000.0], 10, now_ms=510_000.0) == 60.0
    assert trial_seconds_left(times, 10, now_ms=900_000.0) == 50.0, "an epoch is late"
    assert trial_seconds_left([0.0], 10, now_ms=0.0) is None


def test_only_studies_that_a_process_works_on_are_shown(tmp_path: Path) -> None:
    study = a_study(tmp_path)
    study.trial(
        8, [0.5, 0.4, 0.3], {"optim.lr": 1e-3}, state="running", value=None, best_epoch=None
    )
    workspace = Workspace.at(tmp_path)
    assert running_studies(workspace) == [], "its process was killed"
    with hold_study_lock(study.paths):
        (progress,) = running_studies(workspace)
    assert (progress.name, progress.process, progress.trials_done) == ("tiny", os.getpid(), 8)
    assert progress.memory_bytes is not None and progress.memory_bytes > 10_000_000
    (trial,) = progress.trials
    assert (trial.number, trial.epoch, trial.epochs, trial.value) == (8, 3, 4, 0.3)
    console = Console(width=120)
    with console.capture() as captured:
        console.print(render_status([progress], [GpuUse("0", "T4", "93", "1", "2")], 120))
    text = captured.get()
    assert "study tiny · 8 of 8 trials · best val/dice_loss 0.1235" in text
    assert "3 of 4" in text and "GPU 0 T4: 93 %, 1 of 2 MB" in text


def test_damaged_study_does_not_hide_the_others(tmp_path: Path) -> None:
    damaged, study = Builder(tmp_path, "damaged"), a_study(tmp_path)
    damaged.trial(0, [0.5], state="running", value=None, best_epoch=None)
    trial = damaged.paths.trial(0)
    with hold_study_lock(damaged.paths), hold_study_lock(study.paths):
        for path in (trial.epochs_jsonl, trial.trial_json):
            path.write_text("x\n", encoding="utf-8")
            first, second = running_studies(Workspace.at(tmp_path))
            assert (first.name, first.process, second.name) == ("damaged", os.getpid(), "tiny")
            assert path.name in str(first.problem) and second.problem is None
            console = Console(width=300)
            with console.capture() as captured:
                console.print(render_status([first], [], 300))
            assert captured.get().startswith("study damaged · cannot be read: ")


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, NVIDIA T4, 93, 1024, 15360'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpu_use() == [GpuUse("0", "NVIDIA T4", "93", "1024", "15360")]
    program.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    assert gpu_use() == []


def test_watch_prints_a_block_each_interval_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "harness", "status", "--watch", "--interval", "0.2", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has made Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        blocks = [json.loads(process.stdout.readline()) for _ in range(3)]
        assert all(block["studies"] == [] for block in blocks)
        os.killpg(process.pid, signal.SIGINT)
    assert process.returncode == 0


def test_status_once_says_that_nothing_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "status"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "nothing runs now; harness studies lists all studies\n"
