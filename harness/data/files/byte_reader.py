"""Bytes of a file at any offset, from memory or from an open file."""

import io
import struct
from dataclasses import dataclass
from typing import Any, Protocol


class ByteReader(Protocol):
    """Bytes that are read in any order; one thread at a time."""

    @property
    def size(self) -> int:
        """Number of all bytes."""

    def read(self, offset: int, n: int) -> bytes:
        """Read n bytes, or fewer if the end comes first."""


@dataclass(frozen=True)
class MemoryBytes:
    """Bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """Number of all bytes."""
        return len(self.data)

    def read(self, offset: int, n: int) -> bytes:
        """Read n bytes, or fewer if the end comes first."""
        return self.data[offset : offset + n]


@dataclass(frozen=True)
class FileBytes:
    """Bytes of an open file, which may be larger than memory."""

    handle: io.BufferedIOBase
    size: int

    def read(self, offset: int, n: int) -> bytes:
        """Read n bytes, or fewer if the end comes first."""
        # An offset beyond 2^63 is an OverflowError of seek.
        if offset >= self.size:
            return b""
        self.handle.seek(offset)
        return self.handle.read(min(n, self.size - offset))


def unpack(reader: ByteReader, kinds: str, offset: int) -> tuple[Any, ...]:
    """Unpack values at an offset. Raises struct.error if the file ends before."""
    return struct.unpack(kinds, reader.read(offset, struct.calcsize(kinds)))
