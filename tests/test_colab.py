"""The copy of a running study, as docs/colab.md makes it, continues in another workspace."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.core import strict_yaml
from harness.core.paths import StudyPaths
from harness.core.records import read_epochs, read_records
from tests.conftest import TINY, harness_command

COPY = ("rsync", "-a") if shutil.which("rsync") else ("cp", "-a")
RUN = ("run", "--space", "rates.yaml", "--trials", "2", "--pruner", "none")


def wait_for_checkpoint(study: StudyPaths, process: "subprocess.Popen[bytes]") -> None:
    trial = study.trial(0)
    while not (trial.checkpoint.exists() and trial.epochs_jsonl.exists()):
        assert process.poll() is None, "the study ended before it was copied"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_copy_of_a_running_study_continues(workspace: Path, polyps: Path, tmp_path: Path) -> None:
    (workspace / "search_spaces").mkdir()
    fixed = TINY["fixed"] | {"train.epochs": 40, "train.checkpoint_s": 1}
    space = strict_yaml.dump_yaml(TINY | {"fixed": fixed})
    (workspace / "search_spaces" / "rates.yaml").write_text(space, encoding="utf-8")
    words = [sys.executable, "-m", "harness", *RUN, "--data", str(polyps)]
    process = subprocess.Popen(words, cwd=workspace, stderr=subprocess.DEVNULL)
    drive = tmp_path / "drive"
    try:
        wait_for_checkpoint(StudyPaths(workspace / "studies" / "rates"), process)
        drive.mkdir()
        subprocess.run([*COPY, workspace / "studies", drive], check=True)
    finally:
        process.kill()
        process.wait()

    other = tmp_path / "other"
    other.mkdir()
    subprocess.run([*COPY, drive / "studies", other], check=True)
    done = harness_command(other, *RUN[:1], "--study", "rates", "--trials", "2")
    assert done.returncode == 0, done.stderr
    assert "trial 0  continues (attempt 2)" in done.stderr
    study = StudyPaths(other / "studies" / "rates")
    assert [record.state for record in read_records(study)] == ["complete", "complete"]
    epochs = [line["epoch"] for line in read_epochs(study.trial(0))]
    assert epochs == list(range(1, 41)), "each epoch once"
