"""Losslessly compressed pieces of images in one file, read in any order by several threads.

A chunk of codec "zstd" is a Zstandard frame of the differences between neighbouring pixels of a
row: photographs become half as large as without the differences. A chunk of codec "lz4" is an LZ4
block of the values: masks become a little larger than with Zstandard and are decoded six times as
fast. A chunk as long as its array holds the plain values, which are read without a copy
(docs/decisions/0025).
"""

import math
import mmap
import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Literal

import imagecodecs
import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from harness.core.errors import DataError

Codec = Literal["zstd", "lz4"]

_LEVEL: Final = 1  # higher ones save 3 % on Kvasir-SEG and take six times as long to write


def encode_chunk(array: NDArray[Any], codec: Codec = "zstd") -> bytes:
    """Compress an array (h, w, ...) of integers; b"" if all values are 0.

    The values stay plain where compression does not make them shorter.
    """
    if not array.any():
        return b""
    if codec == "lz4":
        compressed = bytes(imagecodecs.lz4_encode(array.tobytes()))
    else:
        differences = imagecodecs.delta_encode(np.ascontiguousarray(array), axis=1)
        compressed = bytes(imagecodecs.zstd_encode(differences.tobytes(), level=_LEVEL))
    return compressed if len(compressed) < array.nbytes else plain_chunk(array)


def plain_chunk(array: NDArray[Any]) -> bytes:
    """Chunk of the plain values of an array of integers; b"" if all of them are 0."""
    return array.tobytes() if array.any() else b""


class ChunkWriter:
    """File of chunks that is being written; see `write_chunks`."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self.offsets = [0]

    def append(self, chunk: bytes) -> None:
        """Write a chunk; its index is the number of earlier ones."""
        # Plain writes, no memory map: on a full disk a map kills the process, a write raises.
        self._handle.write(chunk)
        self.offsets.append(self.offsets[-1] + len(chunk))

    def extend(self, chunks: Iterable[bytes]) -> None:
        """Write chunks in order."""
        for chunk in chunks:
            self.append(chunk)


@contextmanager
def write_chunks(folder: Path, name: str) -> Iterator[ChunkWriter]:
    """Open `NAME.chunks` of a folder for writing; `NAME.npy` with the offsets follows at the end.

    Both are written through to the disk.
    """
    with (folder / f"{name}.chunks").open("wb") as handle:
        writer = ChunkWriter(handle)
        yield writer
        handle.flush()
        os.fsync(handle.fileno())
    offsets = np.array(writer.offsets, "<i8")
    with open_npy(folder / f"{name}.npy", offsets.shape, "<i8") as handle:
        handle.write(offsets.tobytes())


@contextmanager
def open_npy(path: Path, shape: tuple[int, ...], kind: str = "|u1") -> Iterator[IO[bytes]]:
    """Open a .npy file of integers that the caller writes; fsync it at the end."""
    # np.save does not report a full disk.
    with path.open("wb") as handle:
        header = {"descr": kind, "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(handle, header)
        yield handle
        handle.flush()
        os.fsync(handle.fileno())


class ChunkFile:
    """Chunks of a finished file, mapped from disk.

    Args:
        folder: folder of `NAME.chunks` and `NAME.npy`.
        n: expected number of chunks.
        codec: codec of the chunks that are not plain.

    Raises:
        OSError, ValueError: a file is absent or incomplete.
    """

    def __init__(self, folder: Path, name: str, n: int, codec: Codec = "zstd") -> None:
        self._codec = codec
        self._path = folder / f"{name}.chunks"
        self._offsets = np.load(folder / f"{name}.npy")
        if self._offsets.shape != (n + 1,) or (np.diff(self._offsets, prepend=0) < 0).any():
            raise ValueError("the number of chunks differs from that of the request")
        with self._path.open("rb") as handle:
            n_bytes = os.fstat(handle.fileno()).st_size
            if n_bytes != self._offsets[-1]:
                raise ValueError(f"{self._path}: {n_bytes:,} bytes, not {self._offsets[-1]:,}")
            # Mapped pages lie in the page cache of the kernel, which all workers of a machine
            # share. An empty file cannot be mapped; then all values are 0.
            self._data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) if n_bytes else b""
            self._number = os.dup(handle.fileno())
        weakref.finalize(self, os.close, self._number)

    def read(self, index: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Decode a chunk; the array may be read-only.

        Raises:
            DataError: the file was damaged after it was written.
        """
        start, end = self._offsets[index : index + 2]
        if start == end:
            return np.zeros(shape, dtype)
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        if end - start == n_bytes:
            return np.frombuffer(self._data, dtype, math.prod(shape), start).reshape(shape)
        decode = imagecodecs.lz4_decode if self._codec == "lz4" else imagecodecs.zstd_decode
        try:
            # Read, not mapped: the pages of a large store would count as memory of the process.
            chunk = os.pread(self._number, int(end - start), int(start))
            stored = np.frombuffer(decode(chunk, out=n_bytes), dtype).reshape(shape)
        except (RuntimeError, ValueError):
            raise DataError(
                f"{self._path}: damaged; delete its folder, which is built again from the images"
            ) from None
        if self._codec == "lz4":
            return stored
        return np.asarray(imagecodecs.delta_decode(stored, axis=1))
