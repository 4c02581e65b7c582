"""`--version`, `-h`, and the values that a shell completes, without slow imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.app import COMMANDS
from harness.cli.completion import _STUDY_OPTIONS

HEAVY = {"torch", "optuna", "mlflow", "pandas", "cv2", "scipy"}  # typer imports pydantic
CODE = (
    "import sys, atexit\n"
    f"note = lambda: print('heavy', *sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)\n"
    "atexit.register(note)\n"
    "sys.argv = ['harness', *sys.argv[1:]]\n"
    "from harness.cli.app import main\n"
    "main(sys.argv[1:])\n"
)


def harness(folder: Path, *words: str, **env: str) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | env,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def completions(folder: Path, line: str) -> list[str]:
    """The proposals of bash for the last word of a line."""
    words = line.split(" ")
    env = {
        "_HARNESS_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    code, proposals, errors = harness(folder, **env)
    assert code == 0, errors
    assert errors.split() == ["heavy"], "libraries that take long were imported"
    return [line for line in proposals if line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("encoders", "encoders2", "rates"):
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "study.yaml").write_text("format: 1\n")
    (tmp_path / "studies" / "no-study").mkdir()
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "mine.yaml").touch()
    (tmp_path / "here.csv").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "made.harness.tar").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("harness report --study enc", ["encoders", "encoders2"]),
        ("harness trials --study ", ["encoders", "encoders2", "rates"]),
        ("harness run --space m.yaml --prior r", ["rates"]),
        ("harness confirm --workspace studies --study e", []),
        ("harness run --space mi", ["mine.yaml"]),
        ("harness run --space un", ["unetpp.yaml", "unetpp_grid.csv"]),
        ("harness check --space search_spaces/", ["search_spaces/mine.yaml"]),
        ("harness run --space her", ["here.csv"]),
        ("harness run --space not", []),
        ("harness con", ["confirm", "config"]),
        ("harness compare enc", ["encoders", "encoders2"]),
        ("harness compare encoders ", ["encoders2", "rates"]),
        ("harness rename r", ["rates"]),
        ("harness rename rates r", []),
        ("harness archive encoders", ["encoders", "encoders2"]),
        ("harness delete --yes r", ["rates"]),
        ("harness clean --study r", ["rates"]),
        ("harness restore m", ["made.harness.tar"]),
        ("harness restore s", ["search_spaces/", "studies/"]),
    ],
)
def test_shell_completes(folder: Path, line: str, expected: list[str]) -> None:
    assert completions(folder, line) == expected


def test_options_of_a_command_are_completed(folder: Path) -> None:
    words = "harness run --tri"
    env = {"_HARNESS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "2"}
    _, proposals, _ = harness(folder, **env)
    assert proposals == ["--trials"]


def test_every_option_that_takes_a_study_is_completed() -> None:
    from tests.test_docs import options_of

    options = {option for name in COMMANDS for option in options_of([name])}
    assert set(_STUDY_OPTIONS) <= options


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_of_a_shell_is_printed(folder: Path, shell: str) -> None:
    env = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    code, lines, _ = harness(folder, "--show-completion", shell, **env)
    assert code == 0 and "_HARNESS_COMPLETE" in "\n".join(lines)


def test_version_is_printed(folder: Path) -> None:
    code, lines, errors = harness(folder, "--version")
    assert (code, errors.split()) == (0, ["heavy"])
    assert lines == ["harness 0.1.0"]


@pytest.mark.parametrize("words", [["-h"], ["trials", "-h"], ["data", "inspect", "-h"]])
def test_h_is_help(folder: Path, words: list[str]) -> None:
    code, lines, _ = harness(folder, *words)
    assert code == 0 and any("Usage" in line for line in lines)
