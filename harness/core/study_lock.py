"""Lock of a study: one controller at a time (docs/decisions/0011).

The kernel holds the lock (`flock(2)`) and releases it when the process ends, also after SIGKILL.
The text of the file only describes the holder, and may be that of a dead process.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import psutil
from pydantic import BaseModel, ValidationError

from harness.core.errors import UserError
from harness.core.files import DISK_FULL_ERRNOS
from harness.core.paths import StudyPaths
from harness.core.timestamps import utc_timestamp

# A shared lock of `is_study_locked` is released within this time, and a new holder has written its
# text by then.
LOCK_TIMEOUT_S = 1.0
POLL_S = 0.02


class LockHolder(BaseModel):
    """Process that holds the lock of a study. `since` is UTC, ISO 8601."""

    host: str
    process: int
    since: str

    @property
    def may_be_alive(self) -> bool:
        """False if the process is dead; True for another host, where that is unknown."""
        return self.host != socket.gethostname() or psutil.pid_exists(self.process)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


@contextmanager
def hold_study_lock(paths: StudyPaths) -> Iterator[None]:
    """Hold the lock of a study inside the block. The lock of a dead process does not count.

    Raises:
        UserError: another process holds it; the message names host, process and start time. Or
            another command has moved the folder away since this one opened the file.
    """
    paths.root.mkdir(parents=True, exist_ok=True)
    # "a+", since "w" would erase the holder's text before the lock is acquired.
    with paths.lock.open("a+", encoding="utf-8") as lock:
        _acquire(lock, paths.name)
        _refuse_moved_folder(lock, paths)
        _write_holder(lock)
        try:
            yield
        finally:
            lock.truncate(0)


def refuse_if_locked(paths: StudyPaths) -> None:
    """Raise UserError immediately if a process holds the lock of the study; writes no file."""
    if is_study_locked(paths):
        with paths.lock.open("r", encoding="utf-8") as lock:
            raise _locked_error(paths.name, _read_holder(lock))


def is_study_locked(paths: StudyPaths) -> bool:
    """True if a process holds the lock of the study now."""
    try:
        with paths.lock.open("r", encoding="utf-8") as lock:
            # Shared, so that several checks at the same moment do not report each other.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):  # never locked, or renamed just now
        return False
    except BlockingIOError:
        return True
    return False


def read_lock_holder(paths: StudyPaths) -> LockHolder | None:
    """Process that holds the lock of the study now; None if no process does, or it is unknown."""
    if not is_study_locked(paths):
        return None
    try:
        with paths.lock.open("r", encoding="utf-8") as lock:
            return _read_holder(lock)
    except FileNotFoundError:  # the folder was renamed just now
        return None


def _acquire(lock: TextIO, name: str) -> None:
    """Acquire the lock, or raise as soon as a live holder is known or the timeout is over."""
    end = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(lock)
            if (holder is not None and holder.may_be_alive) or time.monotonic() > end:
                raise _locked_error(name, holder) from None
        time.sleep(POLL_S)


def _refuse_moved_folder(lock: TextIO, paths: StudyPaths) -> None:
    """Refuse a lock file that is not that of the path any more: its folder was renamed or deleted.

    The lock follows the folder, so the study of another name would be locked.
    """
    try:
        is_same = os.path.samestat(os.fstat(lock.fileno()), paths.lock.stat())
    except FileNotFoundError:
        is_same = False
    if not is_same:
        raise UserError(
            f"study {paths.name} was renamed or deleted by another command; see harness studies"
        )


def _write_holder(lock: TextIO) -> None:
    lock.truncate(0)
    holder = LockHolder(
        host=socket.gethostname(), process=os.getpid(), since=utc_timestamp("seconds")
    )
    try:
        os.write(lock.fileno(), holder.model_dump_json().encode())
    except OSError as error:
        # `harness clean` must work on a full disk, and the text only describes the holder.
        if error.errno not in DISK_FULL_ERRNOS:
            raise


def _read_holder(lock: TextIO) -> LockHolder | None:
    lock.seek(0)
    try:
        return LockHolder.model_validate_json(lock.read(2000))
    except (ValidationError, UnicodeDecodeError):
        return None  # not written yet, or not written by a controller


def _locked_error(name: str, holder: LockHolder | None) -> UserError:
    who = "an unknown process" if holder is None else str(holder)
    return UserError(f"study {name} is already running ({who}); wait for it, or stop it first")
