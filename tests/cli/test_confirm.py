"""`harness confirm` as a user types it, with real training on tiny images."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

import harness
from harness.cli.report import print_leaderboard
from harness.core.paths import StudyPaths
from harness.core.records import read_epochs, read_records
from tests.conftest import TINY, harness_command
from tests.evaluation.confirm.test_load_confirmation import plan_of, spread
from tests.evaluation.confirming import a_search, begun, trained

CONFIRM = ("confirm", "--study", "tiny", "--top", "1", "--seeds", "2")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_in_the_middle_it_ends_with_the_same_numbers(tmp_path: Path, polyps: Path) -> None:
    searched, workspace, whole = (tmp_path / name for name in ("searched", "killed", "whole"))
    fixed = {"train.epochs": 4, "train.checkpoint_s": 0.0}
    harness.run_study(
        "tiny", space=TINY, data=polyps, trials=1, fixed=fixed, device="cpu", workspace=searched
    )
    # This process holds databases there: reading their files would drop its locks on them.
    for place in (workspace, whole):
        shutil.copytree(searched, place)

    controller = subprocess.Popen(
        [sys.executable, "-m", "harness", *CONFIRM],
        cwd=workspace,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    paths = StudyPaths(workspace / "studies" / "tiny").confirm
    end = time.monotonic() + 600
    while len(read_epochs(paths.trial(0))) < 2:
        assert controller.poll() is None and time.monotonic() < end, "it ended, or hung"
        time.sleep(0.02)  # a poll for the event
    controller.send_signal(signal.SIGKILL)
    controller.wait(timeout=60)
    continued = harness_command(workspace, *CONFIRM)
    assert continued.returncode == 0, continued.stderr
    assert "trial 0  continues (attempt 2)" in continued.stderr
    assert continued.stderr.splitlines()[-1] == "next: harness report --study tiny"
    for word in ("optimism", "sd over seeds", "2 of 2", "tiny.confirm: val/dice_loss"):
        assert word in continued.stdout

    undisturbed = harness.open_study("tiny", workspace=whole).confirm(top=1, seeds=2, device="cpu")
    values = [record.value for record in read_records(paths)]
    assert values == undisturbed.rows[0].values
    assert len(set(values)) == 2, "each run had a seed of its own"
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    version = client.get_model_version_by_alias("tiny", "champion")
    held = Path(str(version.source).removeprefix("file://"))
    names = {path.name for path in held.iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md"}


def test_leaderboard_says_what_was_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = a_search(tmp_path).paths
    study = harness.open_study("tiny", workspace=tmp_path)
    print_leaderboard(study.tables, study.confirmation)
    assert "The first is leading, not confirmed." in capsys.readouterr().out
    plan = plan_of([1, 2], 2)
    begun(paths, plan)
    for number, loss in enumerate([0.21, 0.45, 0.23, 0.47]):
        trained(paths, plan, number, spread(loss))
    print_leaderboard(study.tables, study.confirmation)
    said = " ".join(capsys.readouterr().out.split())
    assert "Confirmed: trial 1 is better than every other configuration" in said


def test_help_has_an_example(workspace: Path) -> None:
    done = harness_command(workspace, "confirm", "--help")
    assert done.returncode == 0
    assert "Example: harness confirm --study encoders --top 5 --seeds 3" in " ".join(
        done.stdout.split()
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--study", "nope"], "error: there is no study nope"),
        (["--study", "some", "--seeds", "1"], "--seeds"),
    ],
)
def test_what_cannot_be_is_one_line(workspace: Path, words: list[str], message: str) -> None:
    (workspace / "studies" / "some").mkdir(parents=True)
    (workspace / "studies" / "some" / "study.yaml").touch()
    done = harness_command(workspace, "confirm", *words)
    assert done.returncode == 2
    assert message in done.stderr
