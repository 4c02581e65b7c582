"""Write files atomically, and logs that can lose only their last line."""

import errno
import glob
import hashlib
import json
import os
import re
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.core.errors import ConfigError

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)  # the disk is full, or the user's quota is used up
# Errors of a disk that may work again later; the last two occur on network disks. A handle becomes
# stale (ESTALE) when a server exports its file system again; Windows does not define this number.
TRANSIENT_ERRNOS = (errno.EIO, errno.EAGAIN, errno.ETIMEDOUT, getattr(errno, "ESTALE", errno.EIO))

# Files are written under such a name and then renamed; the group is the final name.
TEMPORARY_NAME = re.compile(r"\.(.+)\.\d+-[0-9a-f]{8}\.tmp")


def iter_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its chain of causes, explicit (`from`) before implicit ones."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def find_disk_error(
    error: BaseException, errnos: Collection[int] = DISK_FULL_ERRNOS
) -> OSError | None:
    """First OSError with one of these numbers in the chain of causes; None without a match."""
    matches = (
        cause
        for cause in iter_causes(error)
        if isinstance(cause, OSError) and cause.errno in errnos
    )
    return next(matches, None)


def nearest_existing_folder(error: OSError) -> Path | None:
    """Nearest existing folder of the file that could not be read or written.

    Temporary files and folders may have been removed before the error arrives here.

    Returns:
        Absolute path; None if the error names no file.
    """
    name = error.filename2 or error.filename  # the target of a copy or rename is `filename2`
    if not isinstance(name, str | bytes) or not name:
        return None
    folder = Path(os.fsdecode(name)).absolute()
    while not _is_folder(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # up to Python 3.13 is_dir raises some errors, e.g. ESTALE; 3.14 returns False
        return False


@contextmanager
def attach_path(path: Path) -> Iterator[None]:
    """Set `path` as the file name of an OSError without one, e.g. of a write to an open file.

    The name decides which disk a study waits for, and is shown to the user.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_replace(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success fsync it and rename it to `path`.

    After an exception `path` is as before. Readers see the old or the new contents, never a part.

    Raises:
        OSError: the error names `path` if the system's error names no file.

    Example:
        with atomic_replace(target) as temporary: temporary.write_bytes(data)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since a rename is atomic within one file system only.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with attach_path(path):
            yield temporary
            # Before the rename: file systems may write the rename first, and a power cut would then
            # leave an empty file in place of the old one.
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
            fsync_folder(path.parent)  # the rename itself is an entry of the folder: fsync(2)
    finally:
        temporary.unlink(missing_ok=True)


def has_pending_write(path: Path) -> bool:
    """True if a temporary file of `path` exists: a process writes it, or was killed doing so."""
    return any(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))


def remove_temporary_files(folder: Path) -> None:
    """Delete what killed writers left below a folder; nothing may be writing there."""
    for path in folder.rglob(".*.tmp"):
        if TEMPORARY_NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_replace(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically.

    Raises:
        ValueError: NaN or an infinity, which JSON does not have (RFC 8259, section 6).
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def append_jsonl(path: Path, value: dict[str, Any]) -> None:
    """Append one JSON line and fsync it. Raises ValueError for NaN and infinities."""
    line = json.dumps(value, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with attach_path(path), path.open("ab") as handle:
        handle.write(line.encode("utf-8"))
        handle.flush()
        os.fsync(handle.fileno())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the complete JSON lines of a log; [] if the file does not exist.

    Raises:
        ConfigError: a line is not a JSON object.
    """
    if not path.exists():
        return []
    # A kill or a full disk during an append leaves a last line without its line end.
    complete = path.read_bytes().rpartition(b"\n")[0]
    lines = enumerate(complete.split(b"\n"), start=1)
    return [_parse_line(path, number, line) for number, line in lines if line.strip()]


def _parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:  # also of bytes that are not UTF-8
        raise ConfigError(f"{path}:{number}: damaged, not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}:{number}: damaged, not a JSON object")
    return value


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def combine_sha256(digests: Sequence[str]) -> str:
    """One hash for several files: SHA-256 of their joined hexadecimal digits.

    The hash of a single file stays as it is, so that it can be compared with sha256sum.
    """
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def fsync_folder(folder: Path) -> None:
    """Write the entries of a folder to disk, so that a rename in it survives a power cut."""
    if os.name != "posix":  # os.open of a folder fails on Windows
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
