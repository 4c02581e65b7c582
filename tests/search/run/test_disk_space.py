"""A full disk: nothing unwritten is reported, the study waits and goes on."""

import errno
import math
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from harness.config.study import StudyConfig
from harness.core.errors import DataError, StudyInterrupted, StudyStoppedError, UserError
from harness.core.paths import StudyPaths
from harness.core.records import TrialFailure, read_epochs, read_records
from harness.execution.protocol import TrialFailed, TrialTask
from harness.search.run.disk_space import (
    DiskSpaceGuard,
    can_write,
    check_disk_space,
    is_disk_full,
    needed_bytes,
)
from harness.search.run.stop_conditions import StopConditions, StopSignals
from tests.search.disks import fill, mounted
from tests.search.fakes import FakeExecutor, Silence, controller_of, definition_of
from tests.search.run.test_controller import flat, space, trials_of

MB = 1_000_000


class Told(Silence):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def stage(self, text: str) -> None:
        self.lines.append(text)


def room_of(
    folder: Path,
    free: list[int],
    told: Told,
    stops: StopConditions | None = None,
    need: int = 5 * MB,
) -> DiskSpaceGuard:
    """`free` is what each look finds; a pause uses one up."""
    return DiskSpaceGuard(
        [folder],
        need,
        told,
        stops or StopConditions(),
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
    check_disk_space(paths, needed, lambda _: needed)
    with pytest.raises(
        UserError, match=r"studies/s: .* about 148 MB more, 100 MB are free; free disk"
    ):
        check_disk_space(paths, needed, lambda _: 100 * MB)
    paths.root.mkdir(parents=True)
    (paths.root / "model").write_bytes(bytes(49 * MB))
    check_disk_space(paths, needed, lambda _: 100 * MB)
    assert not [path for path in paths.root.iterdir() if path.name != "model"]


def test_checkpoint_that_a_failed_trial_keeps_is_no_part_of_what_a_study_has(
    tmp_path: Path,
) -> None:
    controller_of(tmp_path, definition_of(space(2)), FakeExecutor(lambda _: [math.nan])).run(1)
    paths = StudyPaths(tmp_path / "studies" / "s")
    paths.trial(0).checkpoint.write_bytes(bytes(5 * MB))
    with pytest.raises(UserError, match="needs about 20 MB more, 16 MB are free"):
        check_disk_space(paths, 20 * MB, lambda _: 16 * MB)


class FillingExecutor(FakeExecutor):
    """The disk is full in the first two attempts of trial 1, after its second epoch."""

    def answer(self, number: int, decision: Any) -> None:
        task = self._tasks[number]
        if number == 1 and task.attempt <= 2 and self.asked[-1] == (1, 2):
            del self._tasks[number]
            failure = TrialFailure(cause="disk_full", message="OSError: [Errno 28] No space: '/x'")
            self._events.append(TrialFailed(number=1, attempt=task.attempt, failure=failure))
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
    assert told.lines[1] == "there is disk space again: continuing"
    assert len(told.lines) == 4


class OverQuota(FakeExecutor):
    """A quota ends those attempts of trial 0, by number, at the epochs that are given.

    `pauses` counts those after each attempt.
    """

    def __init__(self, epochs: dict[int, int], folder: Path | None = None) -> None:
        super().__init__(flat)
        self._epochs, self._folder = epochs, folder
        self.pauses: list[int] = []

    def start(self, task: TrialTask) -> None:
        self.pauses.append(0)
        super().start(task)

    def _report(self, task: TrialTask, epoch: int) -> None:
        if self._epochs.get(task.attempt) != epoch:
            return super()._report(task, epoch)
        del self._tasks[task.number]
        failure = TrialFailure(
            cause="disk_full", message="OSError: [Errno 122] Disk quota exceeded"
        )
        failed = TrialFailed(
            number=0, attempt=task.attempt, failure=failure, full_folder=self._folder
        )
        return self._events.append(failed)

    def pause(self) -> None:
        self.pauses[-1] += 1


def test_waits_under_a_quota_grow_and_end_the_study_that_can_be_continued(tmp_path: Path) -> None:
    """A quota leaves the disk as free as it was, and a small file may still be written."""
    told = Told()
    executor = OverQuota(dict.fromkeys(range(1, 100), 1))
    room = DiskSpaceGuard(
        [tmp_path], 100_000, told, StopConditions(), free=lambda _: 10**12, pause=executor.pause
    )
    controller = controller_of(tmp_path, definition_of(space(4)), executor, told, room=room)
    with pytest.raises(
        StudyStoppedError,
        match=r"trial 0: .*quota exceeded; this happened again after each of 20 waits, .* continue",
    ):
        controller.run(1)
    assert executor.pauses == [1, 2, 4, 8, 16, 32, *[60] * 14, 0]
    assert told.lines[2].endswith("(wait 2 since the last finished epoch)")
    (record,) = read_records(StudyPaths(tmp_path / "studies" / "s"))
    assert (record.state, record.failure) == ("running", None)
    again = FakeExecutor(flat)
    controller_of(tmp_path, definition_of(space(4)), again).run(1)
    assert [trial.state for trial in trials_of(tmp_path)] == [TrialState.COMPLETE]


def test_finished_epoch_makes_the_next_wait_short_again(tmp_path: Path) -> None:
    """Attempts 1 and 2 end before their first epoch, 3 and 4 after it: that is new only once."""
    executor = OverQuota({1: 1, 2: 1, 3: 2, 4: 2})
    told = Told()
    room = DiskSpaceGuard(
        [tmp_path], 1000, told, StopConditions(), free=lambda _: 10**12, pause=executor.pause
    )
    controller_of(tmp_path, definition_of(space(4)), executor, told, room=room).run(1)
    assert executor.pauses == [1, 2, 1, 2, 0]


def test_folder_that_is_full_is_named_and_waited_for_alone(tmp_path: Path) -> None:
    """A cache on another disk: there is room where the study lies."""
    cache, told = tmp_path / "scratch" / "cache", Told()
    free = {tmp_path: [9 * MB], cache: [0, 0, 0, 9 * MB]}
    room = DiskSpaceGuard(
        [tmp_path],
        5 * MB,
        told,
        StopConditions(),
        free=lambda folder: free[folder][0],
        pause=lambda: free[cache].pop(0) and None,
    )
    executor = OverQuota({1: 1}, folder=cache)
    controller_of(tmp_path, definition_of(space(4)), executor, told, room=room).run(1)
    assert told.lines[0].endswith(f"waiting until 5 MB are free in {cache} (0 MB free)")


def test_folder_is_that_of_the_error_and_a_passing_one_is_no_full_disk(tmp_path: Path) -> None:
    told, errors = Told(), [OSError(errno.EIO, "Input/output error", str(tmp_path / "a" / "b"))]

    def write() -> str:
        if errors:
            raise RuntimeError("library") from errors.pop()
        return "written"

    room = DiskSpaceGuard([Path("/nowhere")], 1000, told, StopConditions(), pause=lambda: None)
    assert room.retry_when_full(write) == "written"
    assert told.lines == [
        f"cannot read or write in {tmp_path}: RuntimeError: library; waiting before the next "
        "attempt"
    ]


def test_disk_of_another_machine_is_waited_for_and_not_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`node7:/scratch` is no folder here; the free space of this machine says nothing of it."""
    told, pauses = Told(), [0, 0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.search.run.disk_space.can_write", pytest.fail)
    room = DiskSpaceGuard(
        [tmp_path], 1000, told, StopConditions(), free=pytest.fail, pause=pauses.pop
    )
    room.wait("trial 3: node7: No space left on device", Path("node7:/scratch"))
    assert told.lines == [
        "cannot read or write in node7:/scratch: trial 3: node7: No space left on device; waiting "
        "before the next attempt"
    ]
    assert len(pauses) == 1


def test_nothing_is_written_where_data_cannot_be_read_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder may be that of the data, or take no files at all: 20 waits, then the end."""
    pauses: list[None] = []
    room = DiskSpaceGuard(
        [tmp_path], 1000, Told(), StopConditions(), pause=lambda: pauses.append(None)
    )
    monkeypatch.setattr("harness.search.run.disk_space.can_write", pytest.fail)

    def read() -> None:
        raise OSError(errno.ESTALE, "Stale file handle", str(tmp_path / "images" / "1.png"))

    with pytest.raises(
        StudyStoppedError, match=r"cannot read or write in .*after each of 20 waits"
    ):
        room.retry_when_full(read)
    assert len(pauses) == sum([1, 2, 4, 8, 16, 32, *[60] * 14])


def test_full_disk_that_becomes_read_only_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting does not help; the next write says what is wrong."""
    errors = [full(), OSError(errno.EROFS, "Read-only file system", str(tmp_path))]

    def write() -> None:
        raise errors.pop(0)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    room = DiskSpaceGuard(
        [tmp_path], 1000, Told(), StopConditions(), free=lambda _: 10**12, pause=lambda: None
    )
    with pytest.raises(OSError, match="Read-only file system"):
        room.retry_when_full(write)
    assert errors == []


def test_of_several_folders_the_full_one_is_named(tmp_path: Path) -> None:
    """SQLite says only that some disk is full."""
    far, told = tmp_path / "far", Told()
    free = {tmp_path: [9 * MB], far: [0, 9 * MB]}
    room = DiskSpaceGuard(
        [tmp_path, far],
        5 * MB,
        told,
        StopConditions(),
        free=lambda folder: free[folder][0],
        pause=lambda: free[far].pop(0) and None,
    )
    errors = [wrapped(sqlite_full())]

    def write() -> None:
        if errors:
            raise errors.pop()

    room.retry_when_full(write)
    assert told.lines[0].endswith(f"waiting until 5 MB are free in {far} (0 MB free)")


def test_lack_of_room_that_a_user_is_told_of_is_not_waited_for(tmp_path: Path) -> None:
    def build() -> None:
        raise DataError("the decoded images need 9 MB; make room there") from full()

    with pytest.raises(DataError, match="make room there"):
        room_of(tmp_path, [MB], Told()).retry_when_full(build)


def test_checkpoints_of_failed_trials_give_way(tmp_path: Path) -> None:
    told = Told()
    room = DiskSpaceGuard(
        [tmp_path], 1000, told, StopConditions(), pause=lambda: None, free_up=lambda: 7 * MB
    )
    room.wait("trial 3")
    assert told.lines[1:] == [
        "removed the checkpoints of failed trials (7 MB)",
        "there is disk space again: continuing",
    ]


def test_room_is_found_out_by_writing(small: Path, tmp_path: Path) -> None:
    assert can_write(small / "not" / "there", MB) and list(small.iterdir()) == []
    fill(small)
    assert not can_write(small, MB) and [path.name for path in small.iterdir()] == ["ballast"]
    assert can_write(tmp_path, 3 * MB)


def test_signal_ends_the_waiting(tmp_path: Path) -> None:
    signals = StopSignals()
    signals.first_signal = 15
    room = room_of(tmp_path, [MB], Told(), StopConditions(signals=signals))
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

    room = DiskSpaceGuard([small], 100_000, told, StopConditions(), pause=pause)
    executor = Scribbling(curve, room.retry_when_full)
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
