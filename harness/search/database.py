"""The file of a SQLite database: opened by one process at a time, moved aside when damaged."""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY_TIMEOUT_S = 60
_CORRUPT, _NO_DATABASE = 11, 26  # SQLite's result codes
_SIDES = ("", "-wal", "-shm")


@contextmanager
def opening(database: Path) -> Iterator[None]:
    """Be the only one who creates, repairs or moves this database, for as long as it lasts.

    Two processes that make Optuna's tables at once fail both; the lock is that of the folder.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(database.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def write_ahead(database: Path) -> None:
    """Put a database into write-ahead mode, which is kept in the file; created if absent."""
    with contextlib.closing(sqlite3.connect(database, timeout=BUSY_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def is_damaged(database: Path) -> bool:
    """Whether a file that is there is no whole SQLite database. One that is absent is not."""
    if not database.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=BUSY_TIMEOUT_S)) as connection:
            return [tuple(row) for row in connection.execute("PRAGMA quick_check")] != [("ok",)]
    except sqlite3.DatabaseError as error:
        if (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF in (_CORRUPT, _NO_DATABASE):
            return True
        raise


def move_aside(database: Path) -> Path:
    """Rename a database and what belongs to it.

    Returns:
        `<name>.damaged-<UTC date and time>` beside it.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = database.with_name(f"{database.name}.damaged-{stamp}")
    for n in range(2, 1000):
        if not target.exists():
            break
        target = database.with_name(f"{database.name}.damaged-{stamp}-{n}")
    for side in _SIDES:
        with contextlib.suppress(FileNotFoundError):
            database.with_name(database.name + side).rename(target.with_name(target.name + side))
    return target
