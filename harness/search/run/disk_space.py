"""Disk space: the estimate before a study, and waiting while a disk is full."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from harness.config.progress import ProgressReporter
from harness.config.study import StudyConfig
from harness.core import files
from harness.core.errors import StudyInterrupted, StudyStoppedError, UserError
from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.search.run.stop_conditions import StopConditions

T = TypeVar("T")

POLL_S = 5.0  # one pause
MAX_PAUSES = 60  # pauses before the disk is tested again: five minutes
MAX_WAITS = 20  # waits without a finished epoch in between; then the study ends, resumable
MIN_FREE_BYTES = 20_000_000  # records, logs, databases
# SQLite's primary result codes; the extended code of an error holds them in its low byte.
_SQLITE_IOERR, _SQLITE_FULL = 10, 13
_CHUNK = 1_000_000
# Per parameter: weights, weights of the best epoch, moving average, two moments of the optimiser.
_WEIGHT_COPIES = 5
_CHECKPOINT_FILES = 3  # the current one, the previous one, the one being written
_MAX_SAVED_IMAGES = 200  # validation images whose probabilities a trial keeps


def is_disk_full(error: BaseException) -> bool:
    """True if the disk or the user's quota is full, according to an error or one of its causes."""
    return files.find_disk_error(error) is not None or _has_sqlite_code(error, _SQLITE_FULL)


def checkpoint_bytes(n_parameters: int) -> int:
    """Upper bound of the disk space of a running trial's checkpoints."""
    return 4 * n_parameters * _WEIGHT_COPIES * _CHECKPOINT_FILES


def needed_bytes(config: StudyConfig, n_parameters: int, n_val: int, n_slots: int) -> int:
    """Estimate the disk space of a study: checkpoints, kept models and images, records.

    Args:
        n_parameters: number of parameters of the largest network.
        n_val: number of validation images.
        n_slots: number of trials that run simultaneously.
    """
    planes = config.data.eval_size**2 * config.data.n_outputs * min(n_val, _MAX_SAVED_IMAGES)
    artifact_bytes = config.budget.keep * (4 * n_parameters + planes)
    return MIN_FREE_BYTES + n_slots * checkpoint_bytes(n_parameters) + artifact_bytes


def check_disk_space(
    paths: StudyPaths, needed: int, free: Callable[[Path], int] | None = None
) -> None:
    """Raise UserError if less is free than a study still needs, given the files that it has."""
    # Files of failed trials that a full disk removes first are no part of the used space.
    removable = {
        paths.trial(r.number).checkpoint for r in read_records(paths) if r.state == "failed"
    }
    file_paths = (f for f in paths.root.rglob("*") if f.is_file() and not f.is_symlink())
    # What a continued study has written already is part of
    # the estimate, and must not be asked for again.
    used_bytes = sum(f.stat().st_size for f in file_paths if f not in removable)
    available_bytes = (free or free_bytes)(paths.root)
    if needed - used_bytes > available_bytes:
        raise UserError(
            f"{paths.root}: the study needs about {_mb(needed - used_bytes)} more, "
            f"{_mb(available_bytes)} are free; free disk space there, or keep fewer models "
            "(budget.keep in study.yaml)"
        )


def free_bytes(folder: Path) -> int:
    """Free disk space of a folder; if it does not exist, of its nearest existing parent."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


class DiskSpaceGuard:
    """Waits while a disk is full, and continues when there is space.

    Space is tested by writing, since a quota that is used up does not change the free space of the
    disk. Waits become longer, up to five minutes between two tests, until an epoch is finished.

    Args:
        folders: folders to which the study writes.
        needed: bytes that must be free in each.
        progress: shows the waiting to the user.
        stop_conditions: reasons to end the waiting.
        free: returns the bytes free in a folder.
        pause: waits a few seconds; the stop conditions are checked after each pause.
        free_up: removes files that are dispensable, and returns the bytes that became free.

    Attributes:
        n_waits: number of waits so far.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        needed: int,
        progress: ProgressReporter,
        stop_conditions: StopConditions,
        *,
        free: Callable[[Path], int] = free_bytes,
        pause: Callable[[], None] = lambda: time.sleep(POLL_S),
        free_up: Callable[[], int] = lambda: 0,
    ) -> None:
        self._folders, self._needed = folders, needed
        self._progress, self._stop_conditions = progress, stop_conditions
        self._free, self._pause, self._free_up = free, pause, free_up
        self._n_failed_waits = 0  # waits since the last finished epoch
        self.n_waits = 0

    def reset_waits(self) -> None:
        """Start with short waits again, after an epoch was finished and written."""
        self._n_failed_waits = 0

    def wait(self, reason: str, folder: Path | None = None, *, full: bool = True) -> None:
        """Report the problem and wait, for at least one pause, until there is space.

        Args:
            reason: the event that caused the wait, in a few words.
            folder: the full folder, if it is known; None: all folders of the study that a test
                finds full, or all of them if it finds none. A relative one, `HOST:FOLDER`, is on
                another machine, where its space cannot be tested.
            full: the disk is full. False: it could not be read or written for a reason that may
                pass. Then no test file is written: it may be the folder of the user's data.

        Raises:
            StudyInterrupted: a signal arrived.
            StudyStoppedError: the time or the budget ran out, or each of the last 20 waits was
                useless: the test file could be written, and the study's files could not.
        """
        self.n_waits += 1
        self._n_failed_waits += 1
        if not full or (folder is not None and not folder.is_absolute()):
            return self._wait_for_transient_error(reason, folder)
        folders = self._full_folders() if folder is None else [folder]
        folders_text = " and ".join(f"{f} ({_mb(self._free(f))} free)" for f in folders)
        if self._n_failed_waits > MAX_WAITS:
            raise StudyStoppedError(
                f"{reason}; this happened again after each of {MAX_WAITS} waits, although "
                f"{_mb(self._needed)} could be written in {folders_text}; free disk space there or "
                "raise the quota, then run the same command to continue the study"
            )
        self._progress.stage(
            f"disk full: {reason}; waiting until {_mb(self._needed)} are free in "
            f"{folders_text}{self._wait_suffix}"
        )
        if freed := self._free_up():
            self._progress.stage(f"removed the checkpoints of failed trials ({_mb(freed)})")
        self._wait_until_free(folders)
        return self._progress.stage("there is disk space again: continuing")

    def retry_when_full(self, action: Callable[[], T]) -> T:
        """Run an action, and again after each wait for a full disk; it must be repeatable."""
        while True:
            try:
                return action()
            except UserError:  # only raised at the start, while the user is there to react
                raise
            except Exception as error:
                full = is_disk_full(error)
                if not full and not _is_transient(error):
                    raise
                message = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                self.wait(message, _failing_folder(error), full=full)

    def _wait_for_transient_error(self, reason: str, folder: Path | None) -> None:
        location = "" if folder is None else f" in {folder}"
        if self._n_failed_waits > MAX_WAITS:
            raise StudyStoppedError(
                f"cannot read or write{location}: {reason}; this happened again after each of "
                f"{MAX_WAITS} waits; check that disk or its network, then run the same command to "
                "continue the study"
            )
        self._progress.stage(
            f"cannot read or write{location}: {reason}; waiting before the next "
            f"attempt{self._wait_suffix}"
        )
        self._pause_repeatedly(2 ** (self._n_failed_waits - 1))

    @property
    def _wait_suffix(self) -> str:
        return f" (wait {self._n_failed_waits} since the last finished epoch)" * (
            self._n_failed_waits > 1
        )

    def _pause_repeatedly(self, n: int) -> None:
        for _ in range(min(n, MAX_PAUSES)):
            self._pause()
            self._raise_if_stopping()

    def _wait_until_free(self, folders: Sequence[Path]) -> None:
        n_pauses = 2 ** (self._n_failed_waits - 1)
        while True:
            self._pause_repeatedly(n_pauses)
            if all(self._has_space(folder) for folder in folders):
                return
            # Each test writes 20 MB, so tests become rarer,
            # down to one in five minutes (MAX_PAUSES).
            n_pauses *= 2

    def _full_folders(self) -> Sequence[Path]:
        return [folder for folder in self._folders if not self._has_space(folder)] or self._folders

    def _raise_if_stopping(self) -> None:
        stop = self._stop_conditions.check()
        if stop is not None and stop.signal is not None:
            raise StudyInterrupted(stop.signal)
        if stop is not None and stop.interrupts_trials:
            raise StudyStoppedError(f"{stop.line}, while the disk was full")

    def _has_space(self, folder: Path) -> bool:
        return self._free(folder) >= self._needed and can_write(folder, self._needed)


def can_write(folder: Path, n_bytes: int) -> bool:
    """True if `n_bytes` can be written to a folder, or to its nearest existing parent.

    Also True for an error other than a full disk, e.g. a disk that became read-only: waiting does
    not help, and the next write of the study reports that error.
    """
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    probe = folder / f".room-{os.getpid()}.tmp"
    try:
        with probe.open("wb") as handle:
            # Random bytes: a file system that compresses would store zeros in no space. With fsync,
            # since a network file system reports a full quota only then.
            for begin in range(0, n_bytes, _CHUNK):
                handle.write(os.urandom(min(_CHUNK, n_bytes - begin)))
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        return error.errno not in files.DISK_FULL_ERRNOS
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return True


def _is_transient(error: BaseException) -> bool:
    """True if a disk could not be read or written, for a reason that may pass."""
    return files.find_disk_error(error, files.TRANSIENT_ERRNOS) is not None or _has_sqlite_code(
        error, _SQLITE_IOERR
    )


def _failing_folder(error: BaseException) -> Path | None:
    os_error = files.find_disk_error(error, (*files.DISK_FULL_ERRNOS, *files.TRANSIENT_ERRNOS))
    return None if os_error is None else files.nearest_existing_folder(os_error)


def _has_sqlite_code(error: BaseException, code: int) -> bool:
    sqlite_errors = (
        cause for cause in files.iter_causes(error) if isinstance(cause, sqlite3.Error)
    )
    return any(
        (getattr(cause, "sqlite_errorcode", 0) or 0) & 0xFF == code for cause in sqlite_errors
    )


def _mb(n_bytes: int) -> str:
    return f"{max(0, n_bytes) / 1e6:,.0f} MB"
