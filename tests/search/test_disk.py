"""A full disk: nothing unwritten is reported, the study waits and goes on."""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from harness.config import StudyConfig
from harness.errors import StudyInterrupted, UserError
from harness.execution.protocol import Failed, TrialTask
from harness.paths import StudyPaths
from harness.records import Failure, read_epochs, read_records
from harness.search.disk import Room, check_room, is_disk_full, needed_bytes
from harness.search.stopping import Signals, Stops
from tests.search.disks import fill, mounted
from tests.search.fakes import FakeExecutor, Silence, controller_of, definition_of
from tests.search.test_controller import flat, space, trials_of

MB = 1_000_000


class Told(Silence):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def stage(self, text: str) -> None:
        self.lines.append(text)


def room_of(
    folder: Path, free: list[int], told: Told, stops: Stops | None = None, need: int = 5 * MB
) -> Room:
    """`free` is what each look finds; a pause uses one up."""
    return Room(
        [folder],
        need,
        told,
        stops or Stops(),
        free=lambda _: free[0],
        pause=lambda: None if len(free) == 1 else free.pop(0) and None,
    )


def full(number: int = errno.ENOSPC) -> OSError:
    return OSError(number, os.strerror(number), "/x")


def wrapped(error: Exception) -> Exception:
    try:
        raise RuntimeError("library") from error
    except RuntimeError as outer:
        return outer


def sqlite_full() -> sqlite3.Error:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA max_page_count = 2")
    connection.execute("CREATE TABLE t (x)")
    with pytest.raises(sqlite3.OperationalError) as raised:
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    connection.close()
    return raised.value


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (full(), True),
        (full(errno.EDQUOT), True),
        (full(errno.EACCES), False),
        (wrapped(full()), True),
        (wrapped(sqlite_full()), True),
        (sqlite3.OperationalError("database is locked"), False),
        (ValueError("No space left on device"), False),
    ],
)
def test_a_full_disk_is_known_by_its_number(error: Exception, expected: bool) -> None:
    assert is_disk_full(error) is expected


def test_need_is_estimated_and_refused_with_path_need_and_free(tmp_path: Path) -> None:
    config = StudyConfig.from_mapping({"budget": {"keep": 2}, "data": {"eval_size": 100}})
    # 20 MB + 2 slots x 3 files x 5 copies x 4 MB + 2 kept x (4 MB + 10 pictures of 10 kB)
    needed = needed_bytes(config, n_parameters=MB, n_val=10, n_slots=2)
    assert needed == 20 * MB + 120 * MB + 2 * (4 * MB + 100_000)
    paths = StudyPaths(tmp_path / "studies" / "s")
    check_room(paths, needed, lambda _: needed)
    with pytest.raises(UserError, match=r"studies/s: .* about 148 MB more, 100 MB are free; make"):
        check_room(paths, needed, lambda _: 100 * MB)
    paths.root.mkdir(parents=True)
    (paths.root / "model").write_bytes(bytes(49 * MB))
    check_room(paths, needed, lambda _: 100 * MB)
    assert not [path for path in paths.root.iterdir() if path.name != "model"]


class FillingExecutor(FakeExecutor):
    """The disk is full in the first two attempts of trial 1, after its second epoch."""

    def answer(self, number: int, decision: Any) -> None:
        task = self._tasks[number]
        if number == 1 and task.attempt <= 2 and self.asked[-1] == (1, 2):
            del self._tasks[number]
            failure = Failure(cause="disk_full", message="OSError: [Errno 28] No space: '/x'")
            self._events.append(Failed(number=1, attempt=task.attempt, failure=failure))
        else:
            super().answer(number, decision)


def test_worker_on_a_full_disk_waits_and_continues_the_same_trial(tmp_path: Path) -> None:
    told = Told()
    free = [MB, MB, 2 * MB, 9 * MB, MB, 9 * MB]
    executor = FillingExecutor(flat)
    room = room_of(tmp_path, free, told)
    controller_of(tmp_path, definition_of(space(4)), executor, told, room=room).run(3)
    assert [(t.number, t.attempt) for t in executor.started] == [
        (0, 1),
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 1),
    ]
    assert [trial.state for trial in trials_of(tmp_path)] == [TrialState.COMPLETE] * 3
    assert told.lines[0] == (
        "disk full: trial 1: OSError: [Errno 28] No space: '/x'; waiting until 5 MB are free in "
        f"{tmp_path} (1 MB free)"
    )
    assert told.lines[1] == "there is room again: going on"
    assert len(told.lines) == 4


def test_signal_ends_the_waiting(tmp_path: Path) -> None:
    signals = Signals()
    signals.first = 15
    room = room_of(tmp_path, [MB], Told(), Stops(signals=signals))
    executor = FillingExecutor(flat)
    controller = controller_of(tmp_path, definition_of(space(4)), executor, room=room)
    with pytest.raises(StudyInterrupted) as left:
        controller.run(3)
    assert left.value.exit_code == 143
    assert [record.state for record in read_records(StudyPaths(tmp_path / "studies" / "s"))] == [
        "complete",
        "running",
    ]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "3m") as disk:
        yield disk


@pytest.mark.parametrize("where", ["study", "database"])
def test_full_disk_under_study_or_database_is_waited_for(
    tmp_path: Path, small: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # Optuna's own, between its retries
    root = tmp_path / "ws"
    root.mkdir()
    if where == "study":
        (root / "studies").symlink_to(small)
    else:
        root = small
        (tmp_path / "far").mkdir()
        (root / "studies").symlink_to(tmp_path / "far")
    ballast: list[Path] = []

    def curve(task: TrialTask) -> list[float]:
        if task.number == 1 and not ballast:
            ballast.append(fill(small))
        return flat(task)

    told, waits = Told(), list[int]()

    def pause() -> None:
        waits.append(1)
        if ballast[0].exists():
            ballast[0].unlink()

    room = Room([small], 100_000, told, Stops(), pause=pause)
    executor = Scribbling(curve, room.patiently)
    controller_of(root, definition_of(space(4)), executor, told, room=room).run(4)
    assert waits, "the disk was never full: the test shows nothing"
    assert any(line.startswith("disk full: ") for line in told.lines)
    trials = trials_of(root)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    paths = StudyPaths(root / "studies" / "s")
    for trial, record in zip(trials, read_records(paths), strict=True):
        epochs = [line["epoch"] for line in read_epochs(paths.trial(record.number))]
        assert epochs == [1, 2, 3, 4]
        assert trial.intermediate_values == dict.fromkeys(range(4), 0.5)


class Scribbling(FakeExecutor):
    """Stands for a worker that waits itself: here only the controller is looked at."""

    def __init__(self, curve: Callable[[TrialTask], list[float]], patiently: Any) -> None:
        super().__init__(curve)
        self._patiently = patiently

    def _report(self, task: TrialTask, epoch: int) -> None:
        self._patiently(lambda: super(Scribbling, self)._report(task, epoch))
