"""Arrays of equal images that lie in a file of chunks; an image is decoded when it is read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from harness.data.files.chunks import ChunkFile


@dataclass(frozen=True, eq=False)
class PackedArray:
    """Read-only array (N, h, w, ...) with a chunk for each image.

    It is indexed like a numpy array whose first index is a number or an array of numbers. A single
    image may be read-only; several are a new array.
    """

    chunks: ChunkFile
    shape: tuple[int, ...]
    dtype: DTypeLike

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if isinstance(first, int | np.integer):
            return np.asarray(self._image(int(first))[rest])
        indices = np.arange(len(self))[first] if isinstance(first, slice) else np.asarray(first)
        if indices.dtype == np.bool_:
            indices = np.flatnonzero(indices)
        result = np.empty((len(indices), *self.shape[1:]), self.dtype)
        for position, index in enumerate(indices.tolist()):
            result[position] = self._image(index)
        return result[(slice(None), *rest)] if rest else result

    def _image(self, index: int) -> NDArray[Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return self.chunks.read(index % len(self), self.shape[1:], self.dtype)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Decode all images, as `numpy.asarray` does."""
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)
