"""Append-only files of JSON lines on a shared file system, with one writer each.

NFS has neither appends by several writers nor reliable locks. With one writer none are needed, and
opening a file is the moment at which a client asks the server for its present size and times.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from harness.core import files
from harness.core.errors import HarnessError
from harness.execution.protocol import ProtocolMessage, encode_message

INVALID_LINE_S = 30.0  # for the pages of a line to arrive from the server
MAX_READ_BYTES = 16 * 2**20  # of one look at a file
Message = TypeVar("Message", bound=ProtocolMessage)


class MailboxError(HarnessError):
    """A file of messages is damaged."""


class LineWriter:
    """The only writer of a file of messages; each line is on the disk before `append` returns."""

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, 0

    def append(self, message: ProtocolMessage) -> None:
        """Append one message. Raises OSError; the file then has no part of it."""
        line = encode_message(message)
        with files.attach_path(self._path), self._path.open("ab", buffering=0) as handle:
            # What a full disk has left of an earlier line would spoil the next one.
            os.ftruncate(handle.fileno(), self._size)
            written = 0
            while written < len(line):
                written += handle.write(line[written:])
            os.fsync(handle.fileno())
        self._size += len(line)


class LineReader(Generic[Message]):
    """Reads the messages that have been appended to a file since the last look.

    A line without its end is left for the next look: its writer is writing it, or has died.

    Args:
        model: class of the messages.
        clock: monotonic seconds.
    """

    def __init__(
        self, path: Path, model: type[Message], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._model, self._clock = path, model, clock
        self._offset = 0
        self._invalid_since: float | None = None

    def read_new(self) -> list[Message]:
        """The new messages; [] if there are none or the file system does not answer.

        Raises:
            MailboxError: a complete line has been invalid for too long.
        """
        messages: list[Message] = []
        # An error of the file system may pass; a node or controller that is cut off falls silent.
        with suppress(OSError), self._path.open("rb") as handle:
            handle.seek(self._offset)
            complete, end, _ = handle.read(MAX_READ_BYTES).rpartition(b"\n")
            for line in (complete + end).splitlines(keepends=True):
                if (message := self._parse(line)) is None:
                    break
                messages.append(message)
                self._offset += len(line)
        return messages

    def _parse(self, line: bytes) -> Message | None:
        """The message of a complete line; None if it is not valid, or not yet."""
        try:
            message = self._model.model_validate_json(line)
        except ValidationError as error:
            # A client of NFS may see the new length of a file before all of its pages.
            now = self._clock()
            self._invalid_since = now if self._invalid_since is None else self._invalid_since
            if now - self._invalid_since > INVALID_LINE_S:
                raise MailboxError(f"{self._path}: an invalid line: {line[:200]!r}") from error
            return None
        self._invalid_since = None
        return message


def touch(path: Path) -> None:
    """Set the modification time of a file to now, by the clock of its file system."""
    path.touch()  # utime without a time: NFS lets the server choose it


class HeartbeatMonitor:
    """Time for which another process has not touched its heartbeat.

    Only times of files are compared, and only those of one file with one another: the clocks of two
    nodes may differ by minutes, and some file systems take the time of the client.

    Args:
        own: file that this process touches.
        other: file that the other process touches.
    """

    def __init__(self, own: Path, other: Path) -> None:
        self._own, self._other = own, other
        self._last_beat: int | None = None
        self._seen_at: int | None = None  # own time at which `_last_beat` was first seen

    def silence_s(self) -> float:
        """Seconds since the last sign of life was seen; touch the own heartbeat first."""
        own, beat = modified_ns(self._own), modified_ns(self._other)
        if own is None:
            return 0.0  # this process is the one that is cut off
        if self._seen_at is None or (beat is not None and beat != self._last_beat):
            self._last_beat, self._seen_at = beat, own
        return (own - self._seen_at) / 1e9


def modified_ns(path: Path) -> int | None:
    """Modification time of a file; None if it cannot be read."""
    try:
        with path.open("rb") as handle:  # `stat` alone may answer from a cache that is a minute old
            return os.fstat(handle.fileno()).st_mtime_ns
    except OSError:
        return None
