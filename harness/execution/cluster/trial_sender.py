"""Agent's end of the files of a trial: sends the changed ones to the controller."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal

from harness.core.errors import HarnessError
from harness.execution.cluster.checkpoint_budget import updated_rate
from harness.execution.cluster.checkpoint_store import CheckpointStore
from harness.execution.cluster.file_receiver import is_writable_path
from harness.execution.cluster.file_transfer import (
    ATTEMPTS,
    ControllerLink,
    TornTransferError,
    TransferError,
    backoff_s,
    iter_chunks,
)
from harness.execution.cluster.messages import ChunkReply, FileChunk, InnerPath
from harness.execution.protocol import TrialTask

LOG_NAME, CHECKPOINT_NAME, PREVIOUS_NAME = "epochs.jsonl", "checkpoint", "checkpoint.previous"
Signature = tuple[int, int, int]  # inode, time of the last change, size
Mode = Literal["replace", "append", "rotate"]


class StaleTransferError(HarnessError):
    """Another attempt at the trial has begun, so that nothing more may be sent."""


class ControllerDiskFullError(HarnessError):
    """The controller's disk is full.

    Attributes:
        folder: the full folder, on the controller's machine.
    """

    def __init__(self, message: str, folder: Path | None) -> None:
        super().__init__(message)
        self.folder = folder


class TrialSender:
    """Sends what changed in a trial's folder.

    Events wait for the small files alone: a checkpoint may be sent from another thread meanwhile.

    Args:
        folder: of the trial, on this node.
        store: receives the checkpoints instead of the controller.
        pause: waits some seconds before a repeated attempt.

    Attributes:
        link_rate: bytes per second of the last transfers; None: not measured yet.
        n_bytes: sent so far.
    """

    def __init__(
        self,
        link: ControllerLink,
        task: TrialTask,
        folder: Path,
        *,
        store: CheckpointStore | None = None,
        link_rate: float | None = None,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._link, self._task, self._folder, self._pause = link, task, folder, pause
        self._store = store
        self._sent: dict[str, Signature] = {}
        self._log_size, self._log_hash = 0, hashlib.sha256()
        self._lock, self._checkpoint_lock = threading.Lock(), threading.Lock()
        self._n_checkpoints = 0  # on the controller's disk
        self._sent_paths: list[InnerPath] = []
        self.link_rate, self.n_bytes = link_rate, 0

    def mark_present(self) -> None:
        """Note that the controller has all files that are in the folder now."""
        for path in self._paths():
            self._sent[path] = _signature((self._folder / path).stat())
        log = self._folder / LOG_NAME
        if log.exists():
            with log.open("rb") as handle:
                self._log_size = log.stat().st_size
                self._log_hash = _prefix_hash(handle, self._log_size)
        self._n_checkpoints = sum(path in (CHECKPOINT_NAME, PREVIOUS_NAME) for path in self._sent)

    def take_sent(self) -> tuple[InnerPath, ...]:
        """Paths that were sent since the last call."""
        with self._lock:
            paths, self._sent_paths = tuple(dict.fromkeys(self._sent_paths)), []
        return paths

    def send_changed(self) -> None:
        """Send all changed files but checkpoints; the log last, as it tells of the others.

        Raises:
            TransferError: the link fails.
            StaleTransferError: another attempt has begun.
            ControllerDiskFullError: it must be waited for.
        """
        with self._lock:
            for path in self._paths():
                if path not in (LOG_NAME, CHECKPOINT_NAME, PREVIOUS_NAME):
                    self._send_if_changed(path)
            self._send_log()

    def checkpoint_size(self) -> int | None:
        """Size of a checkpoint that has not been sent; None if there is none."""
        try:
            signature = _signature((self._folder / CHECKPOINT_NAME).stat())
        except FileNotFoundError:
            return None
        return None if self._sent.get(CHECKPOINT_NAME) == signature else signature[2]

    def send_checkpoint(self, *, final: bool = False) -> None:
        """Send the newest checkpoint, unless it was sent; raises as `send_changed`.

        Args:
            final: the last one of this attempt. If the controller has none yet it gets the previous
                one first: where one file is damaged, the training continues from the other.
        """
        with self._checkpoint_lock:
            if final and self._n_checkpoints == 0:
                self._send_one_checkpoint(PREVIOUS_NAME)
            self._send_one_checkpoint(CHECKPOINT_NAME)

    def _send_one_checkpoint(self, name: str) -> None:
        try:
            handle = (self._folder / name).open("rb")
        except FileNotFoundError:
            return
        with handle:
            # Opened before the log is sent: the log then has all epochs of this checkpoint, which
            # could not be used otherwise (`read_resumable`).
            with self._lock:
                self._send_log()
            self._send_open_checkpoint(handle, name)
        self._n_checkpoints += 1

    def _send_open_checkpoint(self, handle: BinaryIO, name: str) -> None:
        signature = _signature(os.fstat(handle.fileno()))
        if self._sent.get(name) == signature:
            return
        if self._store is None:
            self._transfer(handle, CHECKPOINT_NAME, "rotate", 0, signature[2])
        else:
            self._store.save(self._task.number, self._task.attempt, handle, signature[2])
        self._sent[name] = signature

    def _paths(self) -> list[str]:
        # os.walk, which passes over a folder that the worker removes at this moment.
        local = (Path(top, name) for top, _, names in os.walk(self._folder) for name in names)
        paths = (
            path.relative_to(self._folder).as_posix() for path in local if not path.is_symlink()
        )
        return sorted(path for path in paths if is_writable_path(path))

    def _send_if_changed(self, path: str) -> None:
        try:
            handle = (self._folder / path).open("rb")
        except FileNotFoundError:
            return  # the worker has just replaced its folder
        with handle:
            signature = _signature(os.fstat(handle.fileno()))
            if self._sent.get(path) != signature:
                self._transfer(handle, path, "replace", 0, signature[2])
                self._sent[path] = signature

    def _send_log(self) -> None:
        """Send the new complete lines, or all of them if the worker has cut the log."""
        log = self._folder / LOG_NAME
        if not log.exists():
            return
        with log.open("rb") as handle:
            prefix = _prefix_hash(handle, self._log_size)
            is_longer = prefix.digest() == self._log_hash.digest()
            begin = self._log_size if is_longer else 0
            end = _last_line_end(handle, begin)
            if is_longer and end == begin:
                return
            self._transfer(handle, LOG_NAME, "append" if begin else "replace", begin, end - begin)
            handle.seek(0)
            self._log_size, self._log_hash = end, _prefix_hash(handle, end)

    def _transfer(self, handle: BinaryIO, path: str, mode: Mode, begin: int, size: int) -> None:
        """Send bytes `begin` to `begin + size` of an open file, until they have arrived whole."""
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._pause(backoff_s(attempt))
            handle.seek(begin)
            started = time.monotonic()
            try:
                reply = self._send_chunks(handle, path, mode, begin, size)
            except (OSError, TornTransferError) as error:
                problem = str(error)
                continue
            if reply.status == "accepted":
                self.n_bytes += size
                self._sent_paths.append(path)
                self.link_rate = updated_rate(self.link_rate, size, time.monotonic() - started)
                return
            problem = reply.message
            if reply.status == "stale":
                raise StaleTransferError(problem)
            if reply.status == "full":
                raise ControllerDiskFullError(problem, reply.folder)
            if reply.status == "refused":
                break
            if reply.status == "conflict":  # an acknowledgement was lost, or the log was cut
                mode, begin, size = "replace", 0, begin + size
        raise TransferError(f"{path}: {problem}, in {ATTEMPTS} attempts")

    def _send_chunks(
        self, handle: BinaryIO, path: str, mode: Mode, begin: int, size: int
    ) -> ChunkReply:
        """Send one file once; the reply to its last chunk, or the first that is not accepted."""
        digest = hashlib.sha256()
        reply = ChunkReply(status="torn", message=f"{path}: nothing was sent")
        for offset, data in iter_chunks(handle, size):
            digest.update(data)
            is_last = offset + len(data) == size
            chunk = FileChunk(
                number=self._task.number,
                attempt=self._task.attempt,
                path=path,
                mode=mode,
                begin=begin if mode == "append" else 0,
                offset=offset,
                size=size,
                sha256=digest.hexdigest() if is_last else None,
            )
            reply = self._link.write_chunk(chunk, data)
            if reply.status != "accepted":
                return reply
        return reply


def _signature(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _prefix_hash(handle: BinaryIO, size: int) -> "hashlib._Hash":
    """Hash of the first `size` bytes, or of all if there are fewer."""
    digest = hashlib.sha256()
    while size > 0 and (data := handle.read(min(size, 2**20))):
        digest.update(data)
        size -= len(data)
    return digest


def _last_line_end(handle: BinaryIO, begin: int) -> int:
    """Position after the last complete line; a kill leaves a line without its end."""
    handle.seek(begin)
    end = position = begin
    while data := handle.read(2**20):
        if (index := data.rfind(b"\n")) >= 0:
            end = position + index + 1
        position += len(data)
    return end
