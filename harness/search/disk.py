"""Room on disk: what a study will need, and waiting where it has run out."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from harness import files
from harness.config import StudyConfig
from harness.errors import StudyInterrupted, StudyStoppedError, UserError
from harness.paths import StudyPaths
from harness.records import read_records
from harness.search.progress import Progress
from harness.search.stopping import Stops

T = TypeVar("T")

POLL_S = 5.0  # one pause
MOST_PAUSES = 60  # before it is tried again whether there is room
MOST_WAITS = 20  # without an epoch between: then the study ends, to be continued
LEAST_BYTES = 20_000_000  # records, logs, databases
_SQLITE_IOERR, _SQLITE_FULL = 10, 13
_CHUNK = 1_000_000
# For each parameter: weights, the best ones, their moving average, two moments of the optimiser.
_COPIES = 5
_FILES = 3  # a checkpoint, the one before, the one being written
_MOST_KEPT = 200  # validation images whose probabilities are kept of a trial


def is_disk_full(error: BaseException) -> bool:
    """Whether room on disk, or what a user may take of it, has run out; causes are looked at."""
    return files.disk_error(error) is not None or _sqlite_says(error, _SQLITE_FULL)


def checkpoint_bytes(n_parameters: int) -> int:
    """At most so much a running trial takes for its checkpoints."""
    return 4 * n_parameters * _COPIES * _FILES


def needed_bytes(config: StudyConfig, n_parameters: int, n_val: int, n_slots: int) -> int:
    """An estimate of what a study takes: checkpoints, the models and pictures it keeps, records.

    Args:
        n_parameters: of the largest network.
        n_val: validation images.
        n_slots: trials that run at once.
    """
    planes = config.data.eval_size**2 * config.data.n_outputs * min(n_val, _MOST_KEPT)
    kept = config.budget.keep * (4 * n_parameters + planes)
    return LEAST_BYTES + n_slots * checkpoint_bytes(n_parameters) + kept


def check_room(paths: StudyPaths, needed: int, free: Callable[[Path], int] | None = None) -> None:
    """Raise UserError where less is free than needed. What the study has already is counted in."""
    passing = {paths.trial(r.number).checkpoint for r in read_records(paths) if r.state == "failed"}
    found = (f for f in paths.root.rglob("*") if f.is_file() and not f.is_symlink())
    has = sum(f.stat().st_size for f in found if f not in passing)
    left = (free or free_bytes)(paths.root)
    if needed - has > left:
        raise UserError(
            f"{paths.root}: the study needs about {_mb(needed - has)} more, {_mb(left)} are free; "
            "make room there, or keep fewer models (budget.keep in study.yaml)"
        )


def free_bytes(folder: Path) -> int:
    """What may still be written in a folder, or where it will be made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


class Room:
    """Waits where a disk is full, and goes on when there is room.

    Whether there is room is found out by writing: a quota leaves a disk as free as it was. A wait
    that no finished epoch follows is longer, up to five minutes.

    Args:
        folders: where the study writes.
        needed: bytes that must be free in each.
        progress: who is told.
        stops: what ends the waiting.
        free: bytes free in a folder.
        pause: waits for a moment, after which it is looked for a reason to stop.
        spare: removes what can be done without; the bytes that became free.

    Attributes:
        n_waits: how often it has waited.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        needed: int,
        progress: Progress,
        stops: Stops,
        *,
        free: Callable[[Path], int] = free_bytes,
        pause: Callable[[], None] = lambda: time.sleep(POLL_S),
        spare: Callable[[], int] = lambda: 0,
    ) -> None:
        self._folders, self._needed = folders, needed
        self._progress, self._stops = progress, stops
        self._free, self._pause, self._spare = free, pause, spare
        self._in_vain = 0  # waits since the last finished epoch
        self.n_waits = 0

    def advanced(self) -> None:
        """An epoch was finished and written."""
        self._in_vain = 0

    def wait(self, what: str, folder: Path | None = None, *, full: bool = True) -> None:
        """Say that the disk is full and wait, for one pause at least, until there is room.

        Args:
            what: happened, in few words.
            folder: the one that is full, where it is known; None: of the study's, those that turn
                out to be, else all.
            full: it is; else it could not be read or written for another reason, which may pass.
                Then nothing is tried there: it may be the folder of the user's data.

        Raises:
            StudyInterrupted: a signal arrived.
            StudyStoppedError: the time or the budget ran out, or each of the last 20 waits was in
                vain: there was room for the little that is tried, and not for what is written.
        """
        self.n_waits += 1
        self._in_vain += 1
        if not full:
            return self._wait_for_disk(what, folder)
        folders = self._lacking() if folder is None else [folder]
        shown = " and ".join(f"{f} ({_mb(self._free(f))} free)" for f in folders)
        if self._in_vain > MOST_WAITS:
            raise StudyStoppedError(
                f"{what}; {MOST_WAITS} waits were in vain, though {_mb(self._needed)} could be "
                f"written each time in {shown}; make room there or raise the quota, then the same "
                "command continues the study"
            )
        self._progress.stage(
            f"disk full: {what}; waiting until {_mb(self._needed)} are free in {shown}{self._again}"
        )
        if freed := self._spare():
            self._progress.stage(f"removed the checkpoints of failed trials ({_mb(freed)})")
        self._until_there_is_room(folders)
        return self._progress.stage("there is room again: going on")

    def patiently(self, do: Callable[[], T]) -> T:
        """What `do` gives; after a disk that was full, once more. `do` must bear repeating."""
        while True:
            try:
                return do()
            except UserError:  # who began the study is there to mend it
                raise
            except Exception as error:
                full = is_disk_full(error)
                if not full and not _may_pass(error):
                    raise
                said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                self.wait(said, _folder_of(error), full=full)

    def _wait_for_disk(self, what: str, folder: Path | None) -> None:
        where = "" if folder is None else f" in {folder}"
        if self._in_vain > MOST_WAITS:
            raise StudyStoppedError(
                f"cannot read or write{where}: {what}; {MOST_WAITS} waits were in vain; see to "
                "that disk or its network, then the same command continues the study"
            )
        self._progress.stage(
            f"cannot read or write{where}: {what}; waiting before it is tried again{self._again}"
        )
        self._pauses(2 ** (self._in_vain - 1))

    @property
    def _again(self) -> str:
        return f" (wait {self._in_vain} since the last finished epoch)" * (self._in_vain > 1)

    def _pauses(self, n: int) -> None:
        for _ in range(min(n, MOST_PAUSES)):
            self._pause()
            self._look_for_stops()

    def _until_there_is_room(self, folders: Sequence[Path]) -> None:
        n_pauses = 2 ** (self._in_vain - 1)
        while True:
            self._pauses(n_pauses)
            if all(self._has_room(folder) for folder in folders):
                return
            n_pauses *= 2

    def _lacking(self) -> Sequence[Path]:
        return [one for one in self._folders if not self._has_room(one)] or self._folders

    def _look_for_stops(self) -> None:
        stop = self._stops.look()
        if stop is not None and stop.signal is not None:
            raise StudyInterrupted(stop.signal)
        if stop is not None and stop.winds_up:
            raise StudyStoppedError(f"{stop.line}, while the disk was full")

    def _has_room(self, folder: Path) -> bool:
        return self._free(folder) >= self._needed and can_write(folder, self._needed)


def can_write(folder: Path, n_bytes: int) -> bool:
    """Whether there is room for so many bytes in a folder, or where it will be made.

    What else prevents writing there, as on a disk that became read-only, does not pass by waiting:
    whoever writes next is told of it.
    """
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    probe = folder / f".room-{os.getpid()}.tmp"
    try:
        with probe.open("wb") as handle:
            for begin in range(0, n_bytes, _CHUNK):  # random: a file system may compress
                handle.write(os.urandom(min(_CHUNK, n_bytes - begin)))
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        return error.errno not in files.FULL
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return True


def _may_pass(error: BaseException) -> bool:
    """Whether a disk did not do as it was told, for a reason that may pass."""
    return files.disk_error(error, files.PASSING) is not None or _sqlite_says(error, _SQLITE_IOERR)


def _folder_of(error: BaseException) -> Path | None:
    found = files.disk_error(error, (*files.FULL, *files.PASSING))
    return None if found is None else files.folder_of(found)


def _sqlite_says(error: BaseException, code: int) -> bool:
    of_sqlite = (one for one in files.causes(error) if isinstance(one, sqlite3.Error))
    return any((getattr(one, "sqlite_errorcode", 0) or 0) & 0xFF == code for one in of_sqlite)


def _mb(n_bytes: int) -> str:
    return f"{max(0, n_bytes) / 1e6:,.0f} MB"
