"""Resumable state: one file that proves itself whole, and the one before it.

A checkpoint is one line of JSON with its epoch and the SHA-256 of what follows, then what
torch.save made. It is copied on the training thread and written on another.
"""

import hashlib
import io
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import torch

from harness import files
from harness.paths import TrialPaths

_LONGEST_HEADER = 1000  # bytes


class Checkpoints:
    """Writes a trial's checkpoints, one at a time, in the background."""

    def __init__(self, paths: TrialPaths, check: Callable[[], None] = lambda: None) -> None:
        """`check` may refuse, by raising, what is about to take its place."""
        self._paths, self._check = paths, check
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def save(self, state: dict[str, Any]) -> None:
        """Copy the state and begin to write it; waits for the one before.

        Raises:
            OSError: the one before could not be written.
        """
        self.wait()
        self._writing = self._pool.submit(write_checkpoint, self._paths, copied(state), self._check)

    @property
    def is_writing(self) -> bool:
        """Whether the last checkpoint is not on disk yet."""
        return self._writing is not None and not self._writing.done()

    def wait(self) -> None:
        """Until the last checkpoint is on disk. Raises OSError if it could not be written."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            try:
                writing.result()
            finally:
                del writing  # else its error, which holds this frame, would be part of a cycle

    def close(self) -> None:
        """End the background thread, after what it is writing."""
        self._pool.shutdown(wait=True)


def write_checkpoint(
    paths: TrialPaths, state: dict[str, Any], check: Callable[[], None] = lambda: None
) -> None:
    """Write a checkpoint whole; the one that was there becomes `checkpoint.previous`.

    Args:
        state: nested dicts and lists of tensors, numbers and text; `epoch` is the last one done.
        check: called when all is written and nothing yet replaced; it may refuse by raising.
    """
    with files.replacing(paths.checkpoint) as temporary:
        temporary.touch()  # from now on a study that stops sees that it is being written
        buffer = io.BytesIO()
        torch.save(state, buffer)
        body = buffer.getbuffer()
        with temporary.open("wb") as handle:
            header = {"epoch": state["epoch"], "sha256": hashlib.sha256(body).hexdigest()}
            handle.write(json.dumps(header).encode("ascii") + b"\n")
            handle.write(body)
        check()
        if paths.checkpoint.exists():
            paths.checkpoint.replace(paths.checkpoint_previous)


def read_checkpoint(paths: TrialPaths) -> dict[str, Any] | None:
    """The newest whole checkpoint of a trial, on the CPU; None if there is none.

    A damaged file is passed over for the one before it.
    """
    for path in (paths.checkpoint, paths.checkpoint_previous):
        state = _read(path)
        if state is not None:
            return state
    return None


def checkpoint_epoch(paths: TrialPaths) -> int:
    """The last epoch that the newest checkpoint claims to hold, without loading it; 0 if none."""
    for path in (paths.checkpoint, paths.checkpoint_previous):
        if path.is_file():
            with path.open("rb") as handle:
                header = _header(handle)
            if header is not None:
                return int(header["epoch"])
    return 0


def remove_checkpoints(paths: TrialPaths) -> None:
    """Remove a trial's checkpoints, once its record says that it has ended."""
    paths.checkpoint.unlink(missing_ok=True)
    paths.checkpoint_previous.unlink(missing_ok=True)


def copied(value: Any) -> Any:
    """A copy on the CPU of nested dicts and lists with tensors; training may go on meanwhile."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(item) for item in value)
    return value


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    with path.open("rb") as handle:
        header = _header(handle)
        body = handle.read()
    if header is None or hashlib.sha256(body).hexdigest() != header["sha256"]:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    return state


def _header(handle: IO[bytes]) -> dict[str, Any] | None:
    """The first line, if it is one of ours."""
    try:
        header = json.loads(handle.readline(_LONGEST_HEADER))
    except ValueError:
        return None
    whole = isinstance(header, dict) and isinstance(header.get("epoch"), int)
    return header if whole and isinstance(header.get("sha256"), str) else None
