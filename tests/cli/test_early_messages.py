"""Mistakes are reported before the heavy libraries are imported (counted, not timed)."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "timm", "albumentations", "optuna", "mlflow", "pandas", "scipy.stats", "sklearn"}
CODE = (
    "import subprocess, sys\n"
    "from harness.cli.app import main\n"
    "started = []\n"
    "def note(name, args):\n"
    "    if name == 'subprocess.Popen': started.append(args)\n"
    "sys.addaudithook(note)\n"
    "code = 0\n"
    "try: main(sys.argv[1:])\n"
    "except SystemExit as error: code = error.code\n"
    f"print(code, len(started), *sorted({HEAVY!r} & set(sys.modules)))"
)
SPACE = """\
parameters:
  optim.lr: {low: 1e-4, high: 1e-2, log: true}
  model.encoder_name: {choices: [resnet18, %s]}
fixed: {data.image_size: 32, train.epochs: 1, model.encoder_weights: null}
"""


@pytest.fixture
def spaces(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text(SPACE % "resnet34")
    (tmp_path / "typo.yaml").write_text(SPACE % "resnet81")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("check --space typo.yaml", "unknown encoder 'resnet81'; did you mean resnet18?"),
        ("run --space typo.yaml", "typo.yaml:3: model.encoder_name: unknown encoder"),
        ("run --space godo.yaml", "did you mean good.yaml?"),
        ("run --space good.yaml --data nowhere", "--data nowhere: neither a folder"),
        ("run --space good.yaml --set optim.lrr=1", "did you mean optim.lr?"),
        ("confirm --study nothing", "there is no study nothing"),
        ("test --study=nothing", "there is no study nothing"),
        ("report --workspace . --study nothing", "there is no study nothing"),
        ("predict --study nothing x.png --out y", "there is no study nothing"),
        ("export --study nothing --out y", "there is no study nothing"),
        ("trials --study nothing", "there is no study nothing"),
        ("sync --study nothing", "there is no study nothing"),
        ("report-bug --study nothing", "there is no study nothing"),
        ("rename nothing new", "there is no study nothing"),
        ("archive nothing", "there is no study nothing"),
        ("delete nothing --yes", "there is no study nothing"),
        ("clean --study nothing", "there is no study nothing"),
        ("compare nothing other", "there is no study nothing"),
        ("restore nothing.tar", "nothing.tar: no such file"),
    ],
)
def test_mistake_is_told_without_heavy_libraries_and_processes(
    spaces: Path, command: str, message: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command.split()],
        capture_output=True,
        text=True,
        cwd=spaces,
    )
    assert message in " ".join(done.stderr.split()), done.stderr
    assert done.stdout.split() == ["2", "0"], "exit code, processes, heavy libraries"


def test_help_of_a_command_needs_no_study(spaces: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, "trials", "--study", "nothing", "--help"],
        capture_output=True,
        text=True,
        cwd=spaces,
    )
    assert "List the trials of a study" in done.stdout
