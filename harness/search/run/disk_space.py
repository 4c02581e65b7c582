"""Room on disk: what a study will need, and waiting where it has run out."""

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
MAX_PAUSES = 60  # before it is tried again whether there is room
MAX_WAITS = 20  # without an epoch between: then the study ends, to be continued
MIN_FREE_BYTES = 20_000_000  # records, logs, databases
_SQLITE_IOERR, _SQLITE_FULL = 10, 13
_CHUNK = 1_000_000
# For each parameter: weights, the best ones, their moving average, two moments of the optimiser.
_WEIGHT_COPIES = 5
_CHECKPOINT_FILES = 3  # a checkpoint, the one before, the one being written
_MAX_SAVED_IMAGES = 200  # validation images whose probabilities are kept of a trial


def is_disk_full(error: BaseException) -> bool:
    """Whether room on disk, or what a user may take of it, has run out; causes are looked at."""
    return files.find_disk_error(error) is not None or _has_sqlite_code(error, _SQLITE_FULL)


def checkpoint_bytes(n_parameters: int) -> int:
    """At most so much a running trial takes for its checkpoints."""
    return 4 * n_parameters * _WEIGHT_COPIES * _CHECKPOINT_FILES


def needed_bytes(config: StudyConfig, n_parameters: int, n_val: int, n_slots: int) -> int:
    """An estimate of what a study takes: checkpoints, the models and pictures it keeps, records.

    Args:
        n_parameters: of the largest network.
        n_val: validation images.
        n_slots: trials that run at once.
    """
    planes = config.data.eval_size**2 * config.data.n_outputs * min(n_val, _MAX_SAVED_IMAGES)
    artifact_bytes = config.budget.keep * (4 * n_parameters + planes)
    return MIN_FREE_BYTES + n_slots * checkpoint_bytes(n_parameters) + artifact_bytes


def check_disk_space(
    paths: StudyPaths, needed: int, free: Callable[[Path], int] | None = None
) -> None:
    """Raise UserError where less is free than needed. What the study has already is counted in."""
    removable = {
        paths.trial(r.number).checkpoint for r in read_records(paths) if r.state == "failed"
    }
    file_paths = (f for f in paths.root.rglob("*") if f.is_file() and not f.is_symlink())
    used_bytes = sum(f.stat().st_size for f in file_paths if f not in removable)
    available_bytes = (free or free_bytes)(paths.root)
    if needed - used_bytes > available_bytes:
        raise UserError(
            f"{paths.root}: the study needs about {_mb(needed - used_bytes)} more, "
            f"{_mb(available_bytes)} are free; "
            "make room there, or keep fewer models (budget.keep in study.yaml)"
        )


def free_bytes(folder: Path) -> int:
    """What may still be written in a folder, or where it will be made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


class DiskSpaceGuard:
    """Waits where a disk is full, and goes on when there is room.

    Whether there is room is found out by writing: a quota leaves a disk as free as it was. A wait
    that no finished epoch follows is longer, up to five minutes.

    Args:
        folders: where the study writes.
        needed: bytes that must be free in each.
        progress: who is told.
        stop_conditions: what ends the waiting.
        free: bytes free in a folder.
        pause: waits for a moment, after which it is looked for a reason to stop.
        free_up: removes what can be done without; the bytes that became free.

    Attributes:
        n_waits: how often it has waited.
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
        """An epoch was finished and written."""
        self._n_failed_waits = 0

    def wait(self, reason: str, folder: Path | None = None, *, full: bool = True) -> None:
        """Say that the disk is full and wait, for one pause at least, until there is room.

        Args:
            reason: happened, in few words.
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
        self._n_failed_waits += 1
        if not full:
            return self._wait_for_transient_error(reason, folder)
        folders = self._full_folders() if folder is None else [folder]
        folders_text = " and ".join(f"{f} ({_mb(self._free(f))} free)" for f in folders)
        if self._n_failed_waits > MAX_WAITS:
            raise StudyStoppedError(
                f"{reason}; {MAX_WAITS} waits were in vain, though {_mb(self._needed)} could be "
                f"written each time in {folders_text}; make room there or raise the quota, then "
                "the same "
                "command continues the study"
            )
        self._progress.stage(
            f"disk full: {reason}; waiting until {_mb(self._needed)} are free in "
            f"{folders_text}{self._wait_suffix}"
        )
        if freed := self._free_up():
            self._progress.stage(f"removed the checkpoints of failed trials ({_mb(freed)})")
        self._wait_until_free(folders)
        return self._progress.stage("there is room again: going on")

    def retry_when_full(self, action: Callable[[], T]) -> T:
        """What `action` gives; after a disk that was full, once more. `action` must bear
        repeating.
        """
        while True:
            try:
                return action()
            except UserError:  # who began the study is there to mend it
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
                f"cannot read or write{location}: {reason}; {MAX_WAITS} waits were in vain; see to "
                "that disk or its network, then the same command continues the study"
            )
        self._progress.stage(
            f"cannot read or write{location}: {reason}; waiting before it is tried "
            f"again{self._wait_suffix}"
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
        return error.errno not in files.DISK_FULL_ERRNOS
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return True


def _is_transient(error: BaseException) -> bool:
    """Whether a disk did not do as it was told, for a reason that may pass."""
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
