"""Files that are written whole or not at all, and logs that may lose only their last line."""

import errno
import glob
import hashlib
import json
import os
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DISK_FULL_ERRNOS = (
    errno.ENOSPC,
    errno.EDQUOT,
)  # of an OSError: the disk, or what a user may take of it
# Of a disk that may answer again in a while; the last two are those of network disks.
TRANSIENT_ERRNOS = (errno.EIO, errno.EAGAIN, errno.ETIMEDOUT, getattr(errno, "ESTALE", errno.EIO))


def iter_causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, then what it was raised from, or while handling what, and so on."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def find_disk_error(
    error: BaseException, errnos: Collection[int] = DISK_FULL_ERRNOS
) -> OSError | None:
    """The OSError with one of these numbers among the causes of an exception; None: none has."""
    matches = (
        cause
        for cause in iter_causes(error)
        if isinstance(cause, OSError) and cause.errno in errnos
    )
    return next(matches, None)


def nearest_existing_folder(error: OSError) -> Path | None:
    """The folder in which something could not be read or written, if the error names a file.

    The nearest one that exists: what was to be written may be gone already.
    """
    name = error.filename2 or error.filename  # of a copy or a renaming the second is written
    if not isinstance(name, str | bytes) or not name:
        return None
    folder = Path(os.fsdecode(name)).absolute()
    while not _is_folder(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # Python 3.11 raises what a disk says that does not answer
        return False


@contextmanager
def attach_path(path: Path) -> Iterator[None]:
    """Enter `path` into an OSError that names no file: a write to an open file names none."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_replace(path: Path) -> Iterator[Path]:
    """A temporary name next to `path`; on success it is fsynced and renamed over `path`.

    Example:
        with replacing(target) as temporary: temporary.write_bytes(data)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with attach_path(path):
            yield temporary
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
            _fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def has_pending_write(path: Path) -> bool:
    """True if a temporary name of `path` exists: it is being written, or its writer was killed."""
    return any(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes whole or not at all."""
    with atomic_replace(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; NaN and infinities are refused, as JSON has neither."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def append_jsonl(path: Path, value: dict[str, Any]) -> None:
    """Append one JSON line and fsync it."""
    line = json.dumps(value, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with attach_path(path), path.open("ab") as handle:
        handle.write(line.encode("utf-8"))
        handle.flush()
        os.fsync(handle.fileno())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a log up to the last whole one; a torn end is left out. [] if absent."""
    if not path.exists():
        return []
    complete = path.read_bytes().rpartition(b"\n")[0]
    return [json.loads(line) for line in complete.split(b"\n") if line.strip()]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def combine_sha256(digests: Sequence[str]) -> str:
    """The one hash of several files: of one its own, else the SHA-256 of their digits in a row."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _fsync_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
