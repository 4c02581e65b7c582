"""Planes of validation images kept between two passes, compressed, in bounded memory."""

import math
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Level 1: two to three times as fast as the default, and the planes are mostly constant anyway.
_COMPRESSION: Final = 1
MAX_STORED_BYTES: Final = 512 * 2**20


class PlaneStore:
    """Compressed uint8 arrays by row number; a full store takes no more.

    Args:
        max_bytes: bound of the compressed size of all arrays.
    """

    def __init__(self, max_bytes: int = MAX_STORED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._arrays: dict[int, tuple[tuple[int, ...], bytes]] = {}

    def __contains__(self, row: int) -> bool:
        return row in self._arrays

    def add(self, row: int, array: NDArray[np.uint8]) -> None:
        """Keep an array if the bound allows it; otherwise do nothing."""
        if self._n_bytes >= self._max_bytes:
            return
        data = zlib.compress(np.ascontiguousarray(array).data, _COMPRESSION)
        if self._n_bytes + len(data) <= self._max_bytes:
            self._arrays[row] = array.shape, data
            self._n_bytes += len(data)

    def get(self, row: int) -> NDArray[np.uint8]:
        """The array of a row, equal to the one that was added. Raises KeyError if it is absent."""
        shape, data = self._arrays[row]
        # The size is given: otherwise the result grows by copies.
        planes = zlib.decompress(data, bufsize=math.prod(shape))
        return np.frombuffer(planes, np.uint8).reshape(shape)
