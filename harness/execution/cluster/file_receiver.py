"""Controller's end of the files that agents send: checks each transfer, then replaces the file."""

import contextlib
import hashlib
import os
import secrets
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

from harness.core import files
from harness.execution.cluster.file_transfer import SourceFolders
from harness.execution.cluster.messages import CHUNK_BYTES, ChunkReply, FileChunk, TaskInputs

PREVIOUS_SUFFIX = ".previous"
_SUFFIX = ".arriving.tmp"
# Names in a trial's folder that agents may write: an agent must not replace the trial's record.
WRITABLE_FILES = ("epochs.jsonl", "checkpoint", "checkpoint.previous")
WRITABLE_FOLDERS = ("overlays", "best")


def is_writable_path(path: str) -> bool:
    """True if the worker writes this file of a trial's folder, so that an agent may send it."""
    first, _, rest = path.partition("/")
    hidden = any(part.startswith(".") or part.endswith(".tmp") for part in path.split("/"))
    return not hidden and (first in WRITABLE_FOLDERS if rest else first in WRITABLE_FILES)


@dataclass
class _Transfer:
    """A transfer that has begun, by the path of its temporary file."""

    temporary: Path
    size: int
    n_bytes: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)


class TrialReceiver:
    """Writes the files of trials whose attempts are registered.

    Several agents send at the same time. A file on disk is replaced only by one that arrived whole.
    """

    def __init__(self) -> None:
        self._attempts: dict[int, tuple[int, Path]] = {}
        self._transfers: dict[tuple[int, int, str], _Transfer] = {}
        self._lock = threading.Lock()

    def register(self, inputs: TaskInputs) -> None:
        """Accept the files of this attempt, and none of earlier ones."""
        task = inputs.task
        with self._lock:
            self._attempts[task.number] = (task.attempt, task.trial_dir)
        # Of agents that died while they sent: a study that stops would wait for these files.
        for path in task.trial_dir.rglob(f".*{_SUFFIX}"):
            path.unlink(missing_ok=True)

    def unregister(self, number: int, attempt: int) -> None:
        """Accept no further file of this attempt."""
        with self._lock:
            if self._attempts.get(number, (0, None))[0] == attempt:
                del self._attempts[number]
            ended = [key for key in self._transfers if key[:2] == (number, attempt)]
            transfers = [self._transfers.pop(key) for key in ended]
        for transfer in transfers:
            transfer.temporary.unlink(missing_ok=True)

    def write_chunk(self, chunk: FileChunk, data: bytes) -> ChunkReply:
        """Write one part of a file of a registered attempt."""
        if not is_writable_path(chunk.path) or len(data) > CHUNK_BYTES:
            return ChunkReply(status="refused", message=f"{chunk.path}: not a file of a worker")
        with self._lock:
            attempt, folder = self._attempts.get(chunk.number, (0, Path()))
        if attempt != chunk.attempt:
            return ChunkReply(status="stale", message=f"attempt {chunk.attempt} has ended")
        target = folder / chunk.path
        try:
            if leaves_folder(folder, target):
                return ChunkReply(status="refused", message=f"{chunk.path}: leads out by a link")
            target.parent.mkdir(parents=True, exist_ok=True)
            return self._write(chunk, data, target)
        except OSError as error:
            self._drop(chunk)
            if error.errno in files.DISK_FULL_ERRNOS:
                return ChunkReply(status="full", message=str(error), folder=folder)
            return ChunkReply(status="torn", message=str(error))

    def _write(self, chunk: FileChunk, data: bytes, target: Path) -> ChunkReply:
        if chunk.mode == "append" and _size(target) != chunk.begin:
            return ChunkReply(status="conflict", message=f"{chunk.path}: {_size(target)} bytes")
        transfer = self._transfer(chunk, target)
        if transfer is None or chunk.offset + len(data) > chunk.size:
            self._drop(chunk)
            return ChunkReply(status="torn", message=f"{chunk.path}: unexpected part")
        with files.attach_path(target), transfer.temporary.open("ab") as handle:
            handle.write(data)
        transfer.n_bytes += len(data)
        transfer.digest.update(data)
        if chunk.sha256 is None:
            return ChunkReply(status="accepted")
        if transfer.n_bytes != chunk.size or transfer.digest.hexdigest() != chunk.sha256:
            self._drop(chunk)
            return ChunkReply(status="torn", message=f"{chunk.path}: length or hash is wrong")
        _fsync(transfer.temporary)
        # A new attempt may have been registered while these bytes arrived, or a new transfer.
        with self._lock:
            if self._attempts.get(chunk.number, (0, None))[0] != chunk.attempt:
                return ChunkReply(status="stale", message=f"attempt {chunk.attempt} has ended")
            if self._transfers.get(_transfer_key(chunk)) is not transfer:
                return ChunkReply(status="torn", message=f"{chunk.path}: sent again meanwhile")
            _install(chunk, transfer.temporary, target)
        self._drop(chunk)
        return ChunkReply(status="accepted")

    def _transfer(self, chunk: FileChunk, target: Path) -> _Transfer | None:
        """The transfer that this chunk continues; None if it does not fit."""
        key = _transfer_key(chunk)
        if chunk.offset == 0:
            self._drop(chunk)
            # A name of its own: the call that this one repeats may still be running.
            name = f".{target.name}.{secrets.token_hex(4)}{_SUFFIX}"
            transfer = _Transfer(target.with_name(name), chunk.size)
            with self._lock:
                self._transfers[key] = transfer
            return transfer
        with self._lock:
            current = self._transfers.get(key)
        fits = current is not None and (current.n_bytes, current.size) == (chunk.offset, chunk.size)
        return current if fits else None

    def _drop(self, chunk: FileChunk) -> None:
        with self._lock:
            transfer = self._transfers.pop(_transfer_key(chunk), None)
        if transfer is not None:
            with contextlib.suppress(OSError):
                transfer.temporary.unlink(missing_ok=True)


class ControllerFiles(SourceFolders):
    """The controller's disk as agents see it, in one process; a `ControllerLink`."""

    def __init__(self) -> None:
        super().__init__()
        self._receiver = TrialReceiver()

    def register(self, inputs: TaskInputs) -> None:
        """Serve and accept the files of a task, before it is sent to an agent."""
        super().register(inputs)
        self._receiver.register(inputs)

    def end_attempt(self, inputs: TaskInputs) -> None:
        """Serve and accept nothing more for a task: it has ended, or its agent is lost."""
        self.unregister_trial(inputs)
        self._receiver.unregister(inputs.task.number, inputs.task.attempt)

    def write_chunk(self, chunk: FileChunk, data: bytes) -> ChunkReply:
        """Write one part of a file, see `ControllerLink`."""
        return self._receiver.write_chunk(chunk, data)


def leaves_folder(folder: Path, target: Path) -> bool:
    """True if a link on the way to `target`, or `target` itself, leads out of the folder."""
    return target.is_symlink() or not target.parent.resolve().is_relative_to(folder.resolve())


def _transfer_key(chunk: FileChunk) -> tuple[int, int, str]:
    return chunk.number, chunk.attempt, chunk.path


def _install(chunk: FileChunk, temporary: Path, target: Path) -> None:
    if chunk.mode == "append":
        return _append(temporary, target, chunk.begin)
    if chunk.mode == "rotate" and target.exists():
        target.replace(target.with_name(target.name + PREVIOUS_SUFFIX))
    temporary.replace(target)
    return None


def _append(temporary: Path, target: Path, begin: int) -> None:
    with files.attach_path(target), target.open("ab") as handle:
        try:
            with temporary.open("rb") as source:
                shutil.copyfileobj(source, handle)
            handle.flush()
            os.fsync(handle.fileno())
        except OSError:
            # A part of a line would be taken for the end of the log of a killed worker.
            os.ftruncate(handle.fileno(), begin)
            raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fsync(path: Path) -> None:
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())
