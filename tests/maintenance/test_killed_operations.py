"""Operations on studies that are killed: the same command completes them, whole."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.core.paths import Workspace
from tests.maintenance.killing import COMMANDS, check
from tests.maintenance.workspaces import copy_workspace

N_MOMENTS = 10


@pytest.fixture(scope="session")
def archived(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Path:
    """The template, with an archive of `tiny` in place of the study for what restores it."""
    workspace = copy_workspace(template, tmp_path_factory.mktemp("archived") / "w")
    code = "import harness, sys; harness.archive('tiny', 'made.tar'); harness.delete('tiny');"
    subprocess.run([sys.executable, "-c", code], cwd=workspace.root, check=True)
    return workspace.root


def source_of(command: str, template: Path, archived: Path) -> Path:
    return archived if command == "restore" else template


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", COMMANDS)
def test_operation_killed_at_a_step_is_completed_by_the_same_command(
    tmp_path: Path, template: Path, archived: Path, command: str
) -> None:
    source = source_of(command, template, archived)
    arguments = [str(source), str(tmp_path), command, "5", str(template)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.maintenance.killing", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert int(done.stdout) > 5


CLI = {
    "rename": ["rename", "tiny", "renamed"],
    "delete": ["delete", "tiny", "--yes"],
    "archive": ["archive", "tiny", "tiny.tar"],
    "restore": ["restore", "made.tar", "--as", "again"],
}


def start(workspace: Workspace, command: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *CLI[command]],
        cwd=workspace.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("command", CLI)
def test_command_killed_at_ten_moments_is_completed(
    tmp_path: Path, template: Path, archived: Path, command: str
) -> None:
    source = source_of(command, template, archived)
    began = time.monotonic()
    assert start(copy_workspace(source, tmp_path / "whole"), command).wait() == 0
    duration_s = time.monotonic() - began
    rng, n_killed = random.Random(command), 0
    for k in range(4 * N_MOMENTS):
        if n_killed == N_MOMENTS:
            break
        workspace = copy_workspace(source, tmp_path / f"killed-{k}")
        began = time.monotonic()
        process = start(workspace, command)
        # Python and the libraries are imported in the first half: the work is in the second one.
        moment = duration_s * (0.4 + 0.6 * (n_killed + rng.random()) / N_MOMENTS)
        try:
            process.wait(moment)
            duration_s = time.monotonic() - began  # it ended before: the machine is faster now
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            n_killed += 1
        process.wait()
        code = start(workspace, command).wait()
        # A command whose result was complete is refused the second time, and changes nothing.
        assert code in (0, 2)
        check(command, template, workspace)
        shutil.rmtree(workspace.root)
    assert n_killed == N_MOMENTS
