"""Windows: one line that names WSL2, before anything is imported that only POSIX has."""

import subprocess
import sys

import pytest

# As on Windows, where neither module is to be had.
WINDOWS = "sys.platform = 'win32'; sys.modules |= {'fcntl': None, 'resource': None}"
LINE = (
    "harness needs Linux or macOS; on Windows use it inside WSL2: `wsl --install` in PowerShell, "
    "then install and start it in the Linux shell that `wsl` opens"
)


def run(code: str, system: str = WINDOWS) -> tuple[int, str]:
    command = [sys.executable, "-c", f"import sys; {system}; {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "started", ["harness", r"C:\\Scripts\\harness.exe", r"c:\\Scripts\\harness-script.py", "-m"]
)
def test_command_says_one_line(started: str) -> None:
    code = f"sys.argv = [{started!r}, 'run']; from harness.cli import entry; entry()"
    assert run(code) == (2, f"error: {LINE}\n")


@pytest.mark.parametrize(
    "module",
    ["harness", "harness.core.study_lock", "harness.training.worker.worker", "harness.cli.app"],
)
@pytest.mark.parametrize(
    "system", ["sys.platform = 'win32'", "sys.modules |= {'fcntl': None, 'resource': None}"]
)
def test_import_raises_that_line(module: str, system: str) -> None:
    code, said = run(f"import {module}", system)
    assert code == 1 and said.splitlines()[-1] == f"ImportError: {LINE}"
