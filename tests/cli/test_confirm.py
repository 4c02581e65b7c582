"""`harness confirm` as a user types it, with real training on tiny images."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

from harness import strict_yaml
from harness.paths import StudyPaths
from harness.records import read_epochs, read_records
from tests.conftest import TINY, harness_command

CONFIRM = ("confirm", "--study", "tiny", "--top", "2", "--seeds", "2")


@pytest.mark.slow
def test_killed_in_the_middle_it_ends_with_the_same_numbers(tmp_path: Path, polyps: Path) -> None:
    workspace, whole = tmp_path / "killed", tmp_path / "whole"
    workspace.mkdir()
    space = TINY | {"fixed": {**TINY["fixed"], "train.epochs": 4, "train.checkpoint_s": 0.0}}
    (workspace / "tiny.yaml").write_text(strict_yaml.dump(space), encoding="utf-8")
    run = ["run", "--space", "tiny.yaml", "--data", str(polyps), "--trials", "2"]
    done = harness_command(workspace, *run, "--pruner", "none")
    assert done.returncode == 0, done.stderr
    shutil.copytree(workspace, whole)

    controller = subprocess.Popen(
        [sys.executable, "-m", "harness", *CONFIRM],
        cwd=workspace,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    place = StudyPaths(workspace / "studies" / "tiny").confirm
    end = time.monotonic() + 200
    while len(read_epochs(place.trial(1))) < 2:
        assert controller.poll() is None and time.monotonic() < end, "it ended, or hung"
        time.sleep(0.02)  # a poll for the event
    controller.send_signal(signal.SIGKILL)
    controller.wait(timeout=60)
    continued = harness_command(workspace, *CONFIRM)
    assert continued.returncode == 0, continued.stderr
    assert "trial 1  continues (attempt 2)" in continued.stderr
    assert continued.stderr.splitlines()[-1] == "next: harness report --study tiny"

    undisturbed = harness_command(whole, *CONFIRM)
    assert undisturbed.returncode == 0, undisturbed.stderr
    other = StudyPaths(whole / "studies" / "tiny").confirm
    values = [record.value for record in read_records(place)]
    assert values == [record.value for record in read_records(other)]
    assert len(set(values)) == 4, "each run had a seed of its own"
    for word in ("optimism", "sd over seeds", "2 of 2", "tiny.confirm: val/dice_loss"):
        assert word in continued.stdout
    sentence = undisturbed.stdout.split("┘\n")[1].splitlines()[0]
    assert sentence.startswith("trial ")
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    version = client.get_model_version_by_alias("tiny", "champion")
    held = Path(str(version.source).removeprefix("file://"))
    assert {path.name for path in held.iterdir()} == {"config.json", "model.safetensors"}
    report = harness_command(workspace, "report", "--study", "tiny", "--no-images")
    assert "Confirmed: trial " in report.stdout


def test_help_has_an_example(workspace: Path) -> None:
    done = harness_command(workspace, "confirm", "--help")
    assert done.returncode == 0
    assert "Example: harness confirm --study encoders --top 5 --seeds 3" in " ".join(
        done.stdout.split()
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--study", "nope"], "error: no study nope"),
        (["--study", "nope", "--seeds", "1"], "--seeds"),
    ],
)
def test_what_cannot_be_is_one_line(workspace: Path, words: list[str], message: str) -> None:
    done = harness_command(workspace, "confirm", *words)
    assert done.returncode == 2
    assert message in done.stderr
