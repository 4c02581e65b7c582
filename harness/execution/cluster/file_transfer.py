"""Transfer of files in chunks, checked by length and hash; a torn file is never accepted."""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from harness.core import files
from harness.core.errors import HarnessError
from harness.execution.cluster.messages import (
    CHUNK_BYTES,
    ChunkReply,
    FileChunk,
    FileEntry,
    TaskInputs,
)

ATTEMPTS = 8  # at one file or chunk; with the pauses between them 22 s
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.2, 10.0


class TransferError(HarnessError):
    """A file did not arrive, or not as it was sent, in several attempts."""


class TornTransferError(HarnessError):
    """The bytes that arrived are not those that were announced; the transfer can be repeated."""


class FileFetcher(Protocol):
    """Reads files of the controller's machine, for an agent."""

    def read_chunk(self, folder_key: str, path: str, offset: int) -> bytes:
        """Read at most CHUNK_BYTES of a registered file; b"" at its end.

        Raises:
            OSError: the link or the disk failed; the call may be repeated.
            TransferError: no such file is registered.
        """
        ...


class ControllerLink(FileFetcher, Protocol):
    """Connection of an agent to the controller's disk."""

    def write_chunk(self, chunk: FileChunk, data: bytes) -> ChunkReply:
        """Send one part of a file. Raises OSError if the link failed; it may be repeated."""
        ...


class SourceFolders:
    """Files on the controller's machine that agents may read: those of registered tasks."""

    def __init__(self) -> None:
        self._paths: dict[str, dict[str, Path]] = {}

    def register(self, inputs: TaskInputs) -> None:
        """Let agents read what a task needs, and nothing else."""
        for folder in inputs.folders:
            self._paths[folder.key] = {e.path: folder.root / e.path for e in folder.files}
        trial_dir = inputs.task.trial_dir
        self._paths[inputs.trial_key] = {e.path: trial_dir / e.path for e in inputs.files}

    def unregister_trial(self, inputs: TaskInputs) -> None:
        """Forget the files of a trial's folder, once its attempt has ended."""
        self._paths.pop(inputs.trial_key, None)

    def read_chunk(self, folder_key: str, path: str, offset: int) -> bytes:
        """Read a part of a registered file, see `FileFetcher`."""
        local = self._paths.get(folder_key, {}).get(path)
        if local is None:
            raise TransferError(f"{folder_key}: {path[:100]!r} is not a file of this study's tasks")
        with local.open("rb") as handle:
            handle.seek(offset)
            return handle.read(CHUNK_BYTES)


def backoff_s(attempt: int) -> float:
    """Seconds to wait before a repeated attempt; the first repetition is attempt 1."""
    return min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (attempt - 1))


def describe_file(root: Path, path: str) -> FileEntry:
    """Describe a file of a folder, with its size and hash."""
    local = root / path
    return FileEntry(path=path, size=local.stat().st_size, sha256=files.file_sha256(local))


def fetch_file(
    fetcher: FileFetcher,
    folder_key: str,
    entry: FileEntry,
    target: Path,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Fetch one file to `target`, which appears only if length and hash are right.

    Raises:
        TransferError: it did not arrive whole in several attempts.
        OSError: the disk of this machine is full or failed.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            pause(backoff_s(attempt))
        try:
            with files.atomic_replace(target) as temporary, temporary.open("wb") as handle:
                _copy_chunks(fetcher, folder_key, entry, handle, pause)
        except TornTransferError as error:
            problem = str(error)
        else:
            return
    raise TransferError(f"{entry.path}: {problem}, in {ATTEMPTS} attempts")


def iter_chunks(handle: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of the first `size` bytes of a file; one empty chunk if it is empty.

    Raises:
        TransferError: the file is shorter.
    """
    offset = 0
    while offset < size or offset == size == 0:
        data = handle.read(min(CHUNK_BYTES, size - offset))
        if len(data) < min(CHUNK_BYTES, size - offset):
            raise TransferError("the file became shorter while it was read")
        yield offset, data
        offset += len(data)
        if not data:
            return


def _copy_chunks(
    fetcher: FileFetcher,
    folder_key: str,
    entry: FileEntry,
    handle: BinaryIO,
    pause: Callable[[float], None],
) -> None:
    """Copy a file; raise TornTransferError if it is not the one that the entry describes."""
    digest, offset = hashlib.sha256(), 0
    while offset < entry.size:
        data = _read_chunk(fetcher, folder_key, entry.path, offset, pause)
        offset += len(data)
        if not data or offset > entry.size:
            raise TornTransferError(f"{offset} bytes arrived, not {entry.size}")
        digest.update(data)
        handle.write(data)
    if digest.hexdigest() != entry.sha256:
        raise TornTransferError("its hash is wrong")


def _read_chunk(
    fetcher: FileFetcher, folder_key: str, path: str, offset: int, pause: Callable[[float], None]
) -> bytes:
    """Read one chunk; a link that drops is tried again."""
    for attempt in range(ATTEMPTS):
        try:
            return fetcher.read_chunk(folder_key, path, offset)
        except OSError as error:
            if attempt == ATTEMPTS - 1:
                raise TransferError(f"{path}: {error}, in {ATTEMPTS} attempts") from error
        pause(backoff_s(attempt + 1))
    raise AssertionError("unreachable")
