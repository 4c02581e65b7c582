"""The file of a SQLite database: opened by one process at a time, moved aside when damaged."""

import contextlib
import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.core.errors import UserError
from harness.core.timestamps import utc_timestamp

BUSY_TIMEOUT_S = 60
MAX_PATH_BYTES = (
    500  # bytes; MAX_PATHNAME of SQLite's os_unix.c is 512, with `-journal` and its like
)
# SQLite's result codes
_PERM, _BUSY, _LOCKED, _READ_ONLY, _CORRUPT, _FULL, _CANNOT_OPEN, _NO_DATABASE = (
    3, 5, 6, 8, 11, 13, 14, 26,
)  # fmt: skip
_FILE_SUFFIXES = ("", "-wal", "-shm")


@contextmanager
def exclusive_access(database: Path) -> Iterator[None]:
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


def enable_wal(database: Path) -> None:
    """Put a database into write-ahead mode, which is kept in the file; created if absent.

    Raises:
        sqlite3.Error: it cannot be written now; `explain_sqlite_error` says why.
    """
    with contextlib.closing(_connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")  # a locked file is noticed here
        # Of a file that can only be read SQLite begins a transaction all the same, to read.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {int(version)}")
        connection.execute("ROLLBACK")


def explain_sqlite_error(database: Path, error: BaseException) -> str | None:
    """Why a SQLite file cannot be used and what to do, in one line that names it.

    Args:
        error: what was raised; its causes are looked at, too.

    Returns:
        None where the reason is another one than a lock, a permission or a full disk.
    """
    code = _result_code(error)
    if code == _CANNOT_OPEN and len(os.fsencode(database)) > MAX_PATH_BYTES:
        return (
            f"{database}: SQLite takes no path longer than about {MAX_PATH_BYTES} bytes; move the "
            "workspace to a shorter one, or name another --workspace"
        )
    if code in (_BUSY, _LOCKED):
        return (
            f"{database}: is locked by another program, e.g. a database viewer, and stayed so for "
            f"{BUSY_TIMEOUT_S} s; close that program and give the same command again"
        )
    if code == _FULL:
        return (
            f"{database}: the disk of {database.parent} is full, or a quota is used up; make room "
            "there and give the same command again"
        )
    if code in (_PERM, _READ_ONLY, _CANNOT_OPEN):
        return (
            f"{database}: cannot be opened for writing; make this file and its folder writable, or "
            "name another --workspace"
        )
    return None


def _result_code(error: BaseException | None) -> int | None:
    """SQLite's result code among an error and its causes."""
    while error is not None:
        if isinstance(error, sqlite3.Error):
            return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
        error = error.__cause__ or error.__context__
    return None


def _connect(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(database, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def is_damaged(database: Path) -> bool:
    """Whether a file that is there is no whole SQLite database. One that is absent is not."""
    if not database.exists():
        return False
    try:
        with contextlib.closing(_connect(database)) as connection:
            return [tuple(row) for row in connection.execute("PRAGMA quick_check")] != [("ok",)]
    except sqlite3.DatabaseError as error:
        if _result_code(error) in (_CORRUPT, _NO_DATABASE):
            return True
        raise


def move_damaged_file(database: Path) -> Path:
    """Rename a database and what belongs to it.

    Returns:
        `<name>.damaged-<UTC date and time>` beside it.
    """
    stamp = utc_timestamp("file_name")
    target = database.with_name(f"{database.name}.damaged-{stamp}")
    for n in range(2, 1000):
        if not target.exists():
            break
        target = database.with_name(f"{database.name}.damaged-{stamp}-{n}")
    for suffix in _FILE_SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            database.with_name(database.name + suffix).rename(
                target.with_name(target.name + suffix)
            )
    return target


MOUNTS = Path("/proc/self/mountinfo")


_NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs"}
    | {"beegfs", "orangefs", "pvfs2", "ocfs2", "gfs2", "virtiofs", "davfs", "ncpfs", "wekafs"}
)


def refuse_network_filesystem(database: Path) -> None:
    """Refuse to keep a SQLite database on a network or FUSE file system.

    Nothing is refused where the system does not tell (it is asked through /proc, on Linux).

    Raises:
        UserError: with the kind of file system, and what to do.
    """
    try:
        text = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    fs_type = filesystem_type(database.parent.resolve(), text)
    if fs_type is not None and is_network_filesystem(fs_type):
        raise UserError(
            f"{database.parent}: is on a file system of kind {fs_type}, where SQLite's locks are "
            "not "
            "to be relied on; name a database elsewhere (--storage postgresql+psycopg://…, or "
            "--storage sqlite:///FILE on a local disk), or choose a --workspace on a local disk "
            "(studies/ may be copied there)"
        )


def is_network_filesystem(fs_type: str) -> bool:
    """Whether a kind of file system is a network's or FUSE's."""
    return fs_type in _NETWORK_TYPES or fs_type.startswith("fuse")


def filesystem_type(folder: Path, mountinfo: str) -> str | None:
    """The kind of file system, e.g. ext4, that an absolute folder without links lies on.

    Args:
        mountinfo: as in /proc/self/mountinfo; of mounts on one point the last counts.

    Returns:
        None where no mount holds it.
    """
    fs_type, deepest = None, -1
    for line in mountinfo.splitlines():
        head, dash, tail = line.partition(" - ")
        fields, tail_fields = head.split(" "), tail.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4]))
        depth = len(point.parts)
        if folder.is_relative_to(point) and depth >= deepest:
            fs_type, deepest = tail_fields[0], depth
    return fs_type
