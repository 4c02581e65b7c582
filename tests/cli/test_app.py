import errno
import logging
import os
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from harness.cli import app
from harness.cli.app import COMMANDS, QUIET_LOGGERS, main

HEAVY = {"torch", "mlflow", "albumentations", "pandas", "scipy", "cv2", "optuna", "pydantic"}


@pytest.mark.parametrize("name", [name for name, (_, function, _) in COMMANDS.items() if function])
def test_list_of_commands_says_what_they_say_themselves(name: str) -> None:
    module, function, line = COMMANDS[name]
    doc = getattr(import_module(f"harness.cli.{module}"), str(function)).__doc__
    assert " ".join(doc.split("\n\n")[0].split()) == line


def test_help_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys\nfrom harness.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"sys.exit(' '.join({HEAVY!r} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in COMMANDS)


def test_unknown_command_has_a_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["rnu"])
    assert left.value.code == 2
    assert "'run'" in capsys.readouterr().err


def test_command_leaves_with_its_code_and_all_it_printed() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    shown = run("config")
    assert shown.returncode == 0 and "optim.lr" in shown.stdout
    wrong = run("run", "--sampler", "tpee")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: --sampler tpee")


def terminated(number: int, frame: object) -> None:
    raise AssertionError("the caller's own handler")


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN, terminated])
@pytest.mark.parametrize("words", [["config", "optim.lr"], ["config", "no.such"], ["rnu"], []])
def test_main_gives_the_process_back_as_it_was(before: Any, words: list[str]) -> None:
    def state() -> list[Any]:
        handlers = [signal.getsignal(number) for number in signal.valid_signals()]
        levels = [logging.getLogger(name).level for name in QUIET_LOGGERS]
        return [handlers, levels, dict(os.environ), [*warnings.filters], Path.cwd(), sys.excepthook]

    own = signal.signal(signal.SIGTERM, before)
    try:
        first = state()
        with pytest.raises(SystemExit):
            main(words)
        assert state() == first
    finally:
        signal.signal(signal.SIGTERM, own)


def test_what_a_command_sets_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's short time-outs are set in the environment, and its loggers made quiet."""
    monkeypatch.setenv("HARNESS_A", "kept")

    def command(*_: Any, **__: Any) -> int:
        assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, before)
        os.environ.update({"HARNESS_A": "changed", "HARNESS_B": "new"})
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        warnings.simplefilter("ignore")
        return 0

    before, filters = signal.getsignal(signal.SIGTERM), [*warnings.filters]
    level = logging.getLogger("mlflow").level
    monkeypatch.setattr(app, "_run", command)
    with pytest.raises(SystemExit):
        main(["run"])
    assert (os.environ["HARNESS_A"], "HARNESS_B" in os.environ) == ("kept", False)
    assert logging.getLogger("mlflow").level == level
    assert [*warnings.filters] == filters and signal.getsignal(signal.SIGTERM) == before


def test_main_runs_on_another_thread() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(SystemExit) as left:
        pool.submit(main, ["config", "optim.lr"]).result()
    assert left.value.code == 0


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/w/data"),
         "error: /w/data: Permission denied; make it accessible, or name another place\n"),
        (OSError(errno.EROFS, "Read-only file system", b"/w/.a.csv.12-0123abcd.tmp"),
         "error: /w/a.csv: Read-only file system; name a place that can be written"),
        (OSError(errno.ENOSPC, "No space left on device"),
         "error: No space left on device; make room there"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300),
         f"error: {'x' * 300}: File name too long; give it a shorter name"),
        (OSError(errno.ENOSPC, "No space left on device", 3),
         "error: No space left on device; make room there"),
    ],
)  # fmt: skip
def test_file_that_cannot_be_written_is_one_line_and_2(
    error: OSError, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(_: str | None) -> Any:
        raise error

    monkeypatch.setattr(app, "build_app", build)
    with pytest.raises(SystemExit) as left:
        main(["check", "--study", "s"])
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.startswith(line) and said.count("\n") == 1


def test_other_errors_of_the_system_are_reported_as_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(_: str | None) -> Any:
        raise OSError(errno.EIO, "Input/output error", "/w/x")

    monkeypatch.setattr(app, "build_app", build)
    with pytest.raises(SystemExit) as left:
        main(["check", "--study", "s"])
    assert left.value.code == 1 and "internal error: OSError" in capsys.readouterr().err
