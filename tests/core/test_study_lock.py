import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.core.paths import StudyPaths
from harness.core.study_lock import hold_study_lock, is_study_locked, refuse_if_locked

ROOT = Path(__file__).resolve().parents[2]
# Leads the study until its standard input closes; says how that went in one line.
LEADER = """
import sys
from pathlib import Path
from harness.core.errors import UserError
from harness.core.paths import StudyPaths
from harness.core.study_lock import hold_study_lock

sys.stdin.readline()
try:
    with hold_study_lock(StudyPaths(Path(sys.argv[1]))):
        print("leads", flush=True)
        sys.stdin.read()
except UserError as error:
    print(error, flush=True)
"""


class Leaders:
    """Processes that want to lead, each from the moment its line arrives."""

    def __init__(self, root: Path, n: int) -> None:
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", LEADER, str(root)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(n)
        ]

    def go(self) -> list[str]:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [
            str(process.stdout and process.stdout.readline()).strip() for process in self.processes
        ]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def paths(tmp_path: Path) -> StudyPaths:
    return StudyPaths(tmp_path / "studies" / "s")


@pytest.fixture
def one(paths: StudyPaths) -> Iterator[Leaders]:
    leaders = Leaders(paths.root, 1)
    yield leaders
    leaders.end()


@pytest.mark.parametrize("n", [2, 8])
def test_of_controllers_started_together_one_leads(paths: StudyPaths, n: int) -> None:
    leaders = Leaders(paths.root, n)
    try:
        said = leaders.go()
    finally:
        leaders.end()
    assert said.count("leads") == 1
    leader = leaders.processes[said.index("leads")].pid
    for line in said:
        assert line == "leads" or f"already running (process {leader} on " in line


def test_second_is_told_host_process_and_since_when(paths: StudyPaths, one: Leaders) -> None:
    assert one.go() == ["leads"]
    host = re.escape(os.uname()[1])
    expected = (
        rf"study s is already running \(process {one.processes[0].pid} on {host}, "
        r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\); wait for it, or stop it first"
    )
    with pytest.raises(UserError, match=expected), hold_study_lock(paths):
        pass
    with pytest.raises(UserError, match=expected):
        refuse_if_locked(paths)
    assert is_study_locked(paths)


def test_dead_leader_is_taken_over(paths: StudyPaths, one: Leaders) -> None:
    one.go()
    one.processes[0].send_signal(signal.SIGKILL)
    one.processes[0].wait()
    assert str(one.processes[0].pid) in paths.lock.read_text(), "its name is left behind"
    refuse_if_locked(paths)
    with hold_study_lock(paths):
        assert json.loads(paths.lock.read_text())["process"] == os.getpid()
    assert paths.lock.read_text() == ""


@pytest.mark.parametrize("text", ["", "{", "process 1 on elsewhere", "\0" * 100, "[]"])
def test_text_of_the_lock_file_locks_nobody_out(paths: StudyPaths, text: str) -> None:
    paths.root.mkdir(parents=True)
    paths.lock.write_text(text)
    refuse_if_locked(paths)
    with hold_study_lock(paths):
        assert is_study_locked(paths)
    assert not is_study_locked(paths)


def test_another_study_is_led_beside_it(paths: StudyPaths, one: Leaders) -> None:
    one.go()
    with hold_study_lock(StudyPaths(paths.root.parent / "t")):
        assert is_study_locked(paths)


def test_looking_leaves_no_folder(paths: StudyPaths) -> None:
    refuse_if_locked(paths)
    assert not paths.root.exists()


def test_full_disk_does_not_keep_a_command_from_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`harness clean` makes room."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    paths = StudyPaths(tmp_path / "s")
    monkeypatch.setattr("harness.core.study_lock.os.write", full)
    with hold_study_lock(paths):
        assert is_study_locked(paths)
