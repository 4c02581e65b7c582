"""SQLite database files: exclusive access, write-ahead log, errors, damage, file systems."""

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

# Python's default of 5 s led to "database is locked" in studies (optuna#820, optuna#4994).
BUSY_TIMEOUT_S = 60
# MAX_PATHNAME of SQLite's os_unix.c is 512, including suffixes such as `-journal`.
MAX_PATH_BYTES = 500
# SQLite's primary result codes (sqlite.org/rescode.html)
_PERM, _BUSY, _LOCKED, _READ_ONLY, _CORRUPT, _FULL, _CANNOT_OPEN, _NO_DATABASE = (
    3, 5, 6, 8, 11, 13, 14, 26,
)  # fmt: skip
# The log and its index belong to one database: SQLite would replay them into another file of the
# same name (sqlite.org/howtocorrupt.html, mispaired database files and hot journals).
_FILE_SUFFIXES = ("", "-wal", "-shm")
MOUNTS = Path("/proc/self/mountinfo")
_NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs"}
    | {"beegfs", "orangefs", "pvfs2", "ocfs2", "gfs2", "virtiofs", "davfs", "ncpfs", "wekafs"}
)


@contextmanager
def exclusive_access(database: Path) -> Iterator[None]:
    """Exclude other processes from creating, repairing or moving this database.

    Two processes that create Optuna's tables simultaneously both fail.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    # The folder is locked, not the file: the file may not exist yet, or be renamed below.
    folder = os.open(database.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def enable_wal(database: Path) -> None:
    """Switch a database to write-ahead logging, which persists in the file; create it if absent.

    Raises:
        sqlite3.Error: the file cannot be written now; see `explain_sqlite_error`.
    """
    with contextlib.closing(_connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")  # fails if the file is locked
        # On a read-only file BEGIN IMMEDIATE succeeds as a read transaction, so write something.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        # A PRAGMA takes no bound parameters, so the number is formatted into the statement.
        connection.execute(f"PRAGMA user_version = {int(version)}")
        connection.execute("ROLLBACK")


def explain_sqlite_error(database: Path, error: BaseException) -> str | None:
    """Cause and remedy of a SQLite error, in one line that names the file.

    Args:
        database: the file.
        error: the exception; its chain of causes is searched too.

    Returns:
        None if the cause is not a lock, a permission, a full disk or a long path.
    """
    code = _result_code(error)
    if code == _CANNOT_OPEN and len(os.fsencode(database)) > MAX_PATH_BYTES:
        return (
            f"{database}: SQLite paths must be shorter than about {MAX_PATH_BYTES} bytes; move the "
            "workspace to a shorter path, or choose another --workspace"
        )
    if code in (_BUSY, _LOCKED):
        return (
            f"{database}: has been locked by another program, e.g. a database viewer, for more "
            f"than {BUSY_TIMEOUT_S} s; close that program and run the same command again"
        )
    if code == _FULL:
        return (
            f"{database}: the disk of {database.parent} is full, or a quota is used up; free space "
            "there and run the same command again"
        )
    if code in (_PERM, _READ_ONLY, _CANNOT_OPEN):
        return (
            f"{database}: cannot be opened for writing; make this file and its folder writable, or "
            "choose another --workspace"
        )
    return None


def _result_code(error: BaseException | None) -> int | None:
    """Primary SQLite result code of an exception or one of its causes."""
    while error is not None:
        if isinstance(error, sqlite3.Error):
            # Extended codes, e.g. 261 for BUSY_RECOVERY, have the primary code in their low byte.
            return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
        error = error.__cause__ or error.__context__
    return None


def _connect(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(database, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def is_damaged(database: Path) -> bool:
    """True if a file exists and is not an intact SQLite database."""
    if not database.exists():
        return False
    try:
        with contextlib.closing(_connect(database)) as connection:
            # Not integrity_check, which also compares each index with its table: O(N log N) in
            # place of O(N) (sqlite.org/pragma.html).
            return [tuple(row) for row in connection.execute("PRAGMA quick_check")] != [("ok",)]
    except sqlite3.DatabaseError as error:
        if _result_code(error) in (_CORRUPT, _NO_DATABASE):
            return True
        raise


def move_damaged_file(database: Path) -> Path:
    """Rename a database together with its -wal and -shm files.

    Returns:
        New path in the same folder: `<name>.damaged-<UTC date and time>`.
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


def refuse_network_filesystem(database: Path) -> None:
    """Refuse a SQLite database on a network or FUSE file system, where its locks are unreliable.

    The type is read from /proc (Linux only); if it is unknown, nothing is refused.

    Raises:
        UserError: the message names the type of file system and the alternatives.
    """
    try:
        text = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    fs_type = filesystem_type(database.parent.resolve(), text)
    if fs_type is not None and is_network_filesystem(fs_type):
        raise UserError(
            f"{database.parent}: is on a file system of type {fs_type}, where SQLite's locks are "
            "unreliable; choose another database (--storage postgresql+psycopg://…, or --storage "
            "sqlite:///FILE on a local disk), or choose a --workspace on a local disk (studies/ "
            "may be copied there)"
        )


def is_network_filesystem(fs_type: str) -> bool:
    """True for the types of network file systems and for FUSE."""
    return fs_type in _NETWORK_TYPES or fs_type.startswith("fuse")


def filesystem_type(folder: Path, mountinfo: str) -> str | None:
    """Type of the file system, e.g. ext4, of a folder.

    Args:
        folder: absolute path without symbolic links.
        mountinfo: contents of /proc/self/mountinfo; the last of several mounts on one point counts.

    Returns:
        None if no mount point contains the folder.
    """
    fs_type, deepest = None, -1
    for line in mountinfo.splitlines():
        head, dash, tail = line.partition(" - ")
        fields, tail_fields = head.split(" "), tail.split(" ")
        if not dash or len(fields) < 5:
            continue
        # The kernel escapes spaces, tabs, newlines and backslashes as octal numbers (proc(5)).
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4]))
        depth = len(point.parts)
        if folder.is_relative_to(point) and depth >= deepest:
            fs_type, deepest = tail_fields[0], depth
    return fs_type
