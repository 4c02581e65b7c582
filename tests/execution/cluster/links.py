"""Links to a controller that fail on purpose."""

from collections.abc import Callable
from typing import Any

from harness.execution.cluster.messages import ChunkReply, FileChunk


class FaultyLink:
    """Calls `spoil_read(count, data)` and `spoil_write(count, data)` before it passes data on.

    They return the data, or raise. `after_write(count, reply)` may lose the reply.
    """

    def __init__(
        self,
        link: Any,
        *,
        spoil_read: Callable[[int, bytes], bytes] = lambda _, data: data,
        spoil_write: Callable[[int, bytes], bytes] = lambda _, data: data,
        after_write: Callable[[int, ChunkReply], ChunkReply] = lambda _, reply: reply,
    ) -> None:
        self._link = link
        self._spoil_read, self._spoil_write, self._after_write = (
            spoil_read,
            spoil_write,
            after_write,
        )
        self.n_reads = self.n_writes = self.bytes_written = 0
        self.chunks: list[FileChunk] = []

    def read_chunk(self, folder_key: str, path: str, offset: int) -> bytes:
        self.n_reads += 1
        return self._spoil_read(self.n_reads, self._link.read_chunk(folder_key, path, offset))

    def write_chunk(self, chunk: FileChunk, data: bytes) -> ChunkReply:
        self.n_writes += 1
        self.chunks.append(chunk)
        self.bytes_written += len(data)
        reply = self._link.write_chunk(chunk, self._spoil_write(self.n_writes, data))
        return self._after_write(self.n_writes, reply)


def drop(*counts: int) -> Callable[[int, Any], Any]:
    """Lose the calls of these numbers."""

    def spoil(count: int, value: Any) -> Any:
        if count in counts:
            raise ConnectionResetError("the link was cut")
        return value

    return spoil


def corrupt(*counts: int) -> Callable[[int, bytes], bytes]:
    """Flip one bit in the data of the calls of these numbers."""

    def spoil(count: int, data: bytes) -> bytes:
        if count in counts and data:
            return bytes([data[0] ^ 1]) + data[1:]
        return data

    return spoil


def shorten(*counts: int) -> Callable[[int, bytes], bytes]:
    """Lose the last byte of the calls of these numbers."""
    return lambda count, data: data[:-1] if count in counts else data
