"""Commands of Slurm: options of the user, argument lists, and the environment of the nodes."""

import json
import os
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.execution.cluster.slurm.sbatch import (
    EXPORTED_VARIABLES,
    SlurmQueue,
    parse_sbatch_options,
)

FAKE = """#!{python}
import json, os, sys
from pathlib import Path
with Path({log!r}).open("a") as log:
    call = {{"words": [Path(sys.argv[0]).name, *sys.argv[1:]], "environment": dict(os.environ)}}
    log.write(json.dumps(call) + "\\n")
print({output!r}, end="")
sys.exit({code})
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "100% mine"
    run.mkdir()
    return run


class FakeCommands:
    """Programs that record how they were called, before all others on PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.log = folder / "bin", folder / "calls"
        self.folder.mkdir()
        monkeypatch.setenv("PATH", f"{self.folder}:{os.environ['PATH']}")

    def set(self, name: str, output: str = "", code: int = 0) -> None:
        import sys

        path = self.folder / name
        text = FAKE.format(python=sys.executable, log=str(self.log), output=output, code=code)
        path.write_text(text)
        path.chmod(0o755)

    def calls(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCommands:
    return FakeCommands(tmp_path, monkeypatch)


def test_options_are_split_like_in_a_shell() -> None:
    text = "--partition=gpu --time=04:00:00 --gres=gpu:1 -pgpu '--comment=two words'"
    assert parse_sbatch_options(text) == (
        *("--partition=gpu", "--time=04:00:00", "--gres=gpu:1", "-pgpu", "--comment=two words"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--partition gpu", "'gpu' is no option; write --name=value"),
        ("run.sh", "'run.sh' is no option"),
        ("-- run.sh", "'--' is no option"),
        ("--array=0-99", "--array is set by this command"),
        ("--arr=0-99", "--arr is set by this command"),
        ("-a0-9", "-a0-9 is set by this command"),
        ("--wrap=id", "--wrap is set"),
        ("--export=ALL", "--export is set"),
        ("--export-file=x", "--export-file is set"),
        ("-J name", "-J is set"),
        ("--no-requeue", "--no-requeue is set"),
        ("--signal=USR1@60", "must be --signal=B:USR1@SECONDS"),
        ("--comment='a", "close the quotation"),
    ],
)
def test_options_that_would_break_the_submission_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_sbatch_options(text)


@pytest.mark.parametrize(
    "text", ["--nodelist=n1", "--gres=gpu:1", "--mem=4G", "-pgpu", "-C=a100", "--signal=B:USR1@60"]
)
def test_other_options_are_passed_through(text: str) -> None:
    assert parse_sbatch_options(text) == (text,)


def test_an_array_is_submitted_by_an_argument_list(run: Path, commands: FakeCommands) -> None:
    commands.set("sbatch", "123;other\n")
    queue = SlurmQueue(run, "harness-s-1", options=("--comment=a; rm -rf /",), cpus=4, gpus=1)
    assert queue.submit(3) == ["123_0", "123_1", "123_2"]
    words = commands.calls()[0]["words"]
    assert isinstance(words, list)
    for word in (
        *("--array=0-2", "--job-name=harness-s-1", "--cpus-per-task=4", "--gres=gpu:1"),
        *("--requeue", "--comment=a; rm -rf /", f"--chdir={run}"),
    ):
        assert word in words
    assert f"--output={run.parent}/100%% mine/logs/%A_%a.log" in words, "% is Slurm's own letter"
    assert words[-1] == str(run)
    assert words[-2] == "harness.execution.cluster.slurm.node"


def test_no_secret_leaves_this_machine(
    run: Path, commands: FakeCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "SLURM_JWT", "ANY")
    for name in names:
        monkeypatch.setenv(name, "s3cr3t")
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    commands.set("sbatch", "5\n")
    SlurmQueue(run, "n", cpus=2).submit(1)
    call = commands.calls()[0]
    assert "s3cr3t" not in json.dumps(call)
    environment = call["environment"]
    assert isinstance(environment, dict)
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "2"
    assert environment["SBATCH_PARTITION"] == "gpu", "the user's defaults of sbatch"
    assert not [name for name in EXPORTED_VARIABLES if "TOKEN" in name or "PASSWORD" in name]
    assert "s3cr3t" not in "".join(p.read_text() for p in run.rglob("*") if p.is_file())


def test_states_are_read_with_reasons_that_contain_anything(
    run: Path, commands: FakeCommands
) -> None:
    commands.set("squeue", "7_0|RUNNING|None\n7_1|PENDING|Nodes required | DOWN\nnoise\n")
    assert SlurmQueue(run, "n").states() == {
        "7_0": ("RUNNING", "None"),
        "7_1": ("PENDING", "Nodes required | DOWN"),
    }


def test_a_scheduler_that_fails_gives_no_states(run: Path, commands: FakeCommands) -> None:
    commands.set("squeue", code=1)
    assert SlurmQueue(run, "n").states() is None


def test_a_refused_submission_shows_the_words_of_sbatch(run: Path, commands: FakeCommands) -> None:
    commands.set("sbatch", code=1)
    (commands.folder / "sbatch").write_text("#!/bin/sh\necho 'invalid partition: x' >&2; exit 1\n")
    with pytest.raises(UserError, match="sbatch failed: invalid partition: x"):
        SlurmQueue(run, "n").submit(1)


def test_jobs_are_cancelled_by_their_name(run: Path, commands: FakeCommands) -> None:
    commands.set("scancel", code=1)
    queue = SlurmQueue(run, "harness-s-1")
    queue.cancel("7_1")
    queue.cancel_all()
    words = [call["words"] for call in commands.calls()]
    assert words == [["scancel", "--quiet", "7_1"], ["scancel", "--quiet", "--name=harness-s-1"]]
