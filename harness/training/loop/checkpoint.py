"""Checkpoints of a training: one file with a checksum, and the previous one.

A checkpoint is one line of JSON with its epoch and the SHA-256 of the rest, then the output of
torch.save. The state is copied on the training thread and written on a background thread.
"""

import hashlib
import io
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from harness.core import files
from harness.core.checkpoint_header import read_checkpoint_header
from harness.core.paths import TrialPaths


class CheckpointWriter:
    """Writes a trial's checkpoints, one at a time, in the background."""

    def __init__(self, paths: TrialPaths, check: Callable[[], None] = lambda: None) -> None:
        """`check` is called before a checkpoint is replaced; it may raise to prevent that."""
        self._paths, self._check = paths, check
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, state: dict[str, Any]) -> None:
        """Copy the state and start to write it, after the previous checkpoint.

        Raises:
            OSError: the previous checkpoint could not be written.
        """
        self.wait()
        self._pending = self._pool.submit(
            # The copy is made here, on the training thread: the next step changes the tensors in
            # place.
            write_checkpoint,
            self._paths,
            copy_to_cpu(state),
            self._check,
        )

    @property
    def is_writing(self) -> bool:
        """True while the last checkpoint is not on disk."""
        return self._pending is not None and not self._pending.done()

    def wait(self) -> None:
        """Wait until the last checkpoint is on disk. Raises OSError if that failed."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            try:
                pending.result()
            finally:
                del pending  # its exception holds this frame: otherwise a reference cycle

    def close(self) -> None:
        """End the background thread, after the checkpoint that it is writing."""
        self._pool.shutdown(wait=True)


def write_checkpoint(
    paths: TrialPaths, state: dict[str, Any], check: Callable[[], None] = lambda: None
) -> None:
    """Write a checkpoint atomically; the present one becomes `checkpoint.previous`.

    Args:
        state: nested dicts and lists of tensors, numbers and text; `epoch` is the last finished.
        check: called when the new file is written and before it replaces the old one; it may raise
            to prevent that.
    """
    with files.atomic_replace(paths.checkpoint) as temporary:
        temporary.touch()  # from now on a study that stops waits for this file
        _write_with_header(temporary, state)
        check()
        if paths.checkpoint.exists():
            # A kill between this rename and the next leaves no `checkpoint`, but an intact previous
            # one, which `read_checkpoint` takes.
            paths.checkpoint.replace(paths.checkpoint_previous)


def _write_with_header(path: Path, state: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    # A view: getvalue() would hold the checkpoint, hundreds of megabytes, in memory twice.
    body = buffer.getbuffer()
    with path.open("wb") as handle:
        header = {"epoch": state["epoch"], "sha256": hashlib.sha256(body).hexdigest()}
        handle.write(json.dumps(header).encode("ascii") + b"\n")
        handle.write(body)


def read_checkpoint(paths: TrialPaths) -> dict[str, Any] | None:
    """Read the newest intact checkpoint of a trial, on the CPU; None without one.

    If the file is damaged, the previous one is read.
    """
    for path in (paths.checkpoint, paths.checkpoint_previous):
        state = _read_state(path)
        if state is not None:
            return state
    return None


def remove_checkpoints(paths: TrialPaths) -> None:
    """Remove a trial's checkpoints, after its record says that it has ended."""
    paths.checkpoint.unlink(missing_ok=True)
    paths.checkpoint_previous.unlink(missing_ok=True)


def copy_to_cpu(value: Any) -> Any:
    """Copy nested dicts and lists of tensors to the CPU; training may then change the originals."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copy_to_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copy_to_cpu(item) for item in value)
    return value


def _read_state(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    with path.open("rb") as handle:
        header = read_checkpoint_header(handle)
        body = handle.read()
    if header is None or hashlib.sha256(body).hexdigest() != header["sha256"]:
        return None
    # weights_only: unpickling anything else could run code from a file that somebody sent along.
    state: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    return state
