"""One leader per study: a lock that ends with its process, however that ends.

The lock is the kernel's (`flock`): it is free as soon as its holder is dead. The file's text only
says who holds it, and may be that of a dead one.
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
from harness.core.paths import StudyPaths
from harness.core.timestamps import utc_timestamp

LOCK_TIMEOUT_S = 1.0  # for a look of `is_study_locked`, and for a leader that has not signed yet
POLL_S = 0.02


class LockHolder(BaseModel):
    """The process that holds the lock of a study. `since` is UTC, ISO 8601."""

    host: str
    process: int
    since: str

    @property
    def may_be_alive(self) -> bool:
        """False if it is known to be dead."""
        return self.host != socket.gethostname() or psutil.pid_exists(self.process)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


@contextmanager
def hold_study_lock(paths: StudyPaths) -> Iterator[None]:
    """Lead a study alone, for as long as the context lasts. A dead leader's place is taken.

    Raises:
        UserError: when another process leads it; the message says which, and since when.
    """
    paths.root.mkdir(parents=True, exist_ok=True)
    with paths.lock.open("a+", encoding="utf-8") as lock:
        _acquire(lock, paths.name)
        _write_holder(lock)
        try:
            yield
        finally:
            lock.truncate(0)


def refuse_if_locked(paths: StudyPaths) -> None:
    """Raise UserError immediately if a process holds the lock of the study; write nothing."""
    if is_study_locked(paths):
        with paths.lock.open("r", encoding="utf-8") as lock:
            raise _locked_error(paths.name, _read_holder(lock))


def is_study_locked(paths: StudyPaths) -> bool:
    """True if a process holds the lock of the study now."""
    if not paths.lock.exists():
        return False
    with paths.lock.open("r", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _acquire(lock: TextIO, name: str) -> None:
    """Take the lock, or raise as soon as it is plain who has it."""
    end = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(lock)
            if (holder is not None and holder.may_be_alive) or time.monotonic() > end:
                raise _locked_error(name, holder) from None
        time.sleep(POLL_S)


def _write_holder(lock: TextIO) -> None:
    lock.truncate(0)
    holder = LockHolder(
        host=socket.gethostname(), process=os.getpid(), since=utc_timestamp("seconds")
    )
    lock.write(holder.model_dump_json())
    lock.flush()


def _read_holder(lock: TextIO) -> LockHolder | None:
    lock.seek(0)
    try:
        return LockHolder.model_validate_json(lock.read(2000))
    except (ValidationError, UnicodeDecodeError):
        return None  # not signed yet, or by no leader


def _locked_error(name: str, holder: LockHolder | None) -> UserError:
    who = "a process that has not signed" if holder is None else str(holder)
    return UserError(f"study {name} is already running ({who}); wait for it, or stop it first")
