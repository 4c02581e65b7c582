"""Store of images and masks at native size: decoded once for each data set, read by window."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core.atomic_dir import atomic_directory
from harness.data.files.chunks import ChunkFile
from harness.data.files.source import DataSource
from harness.data.loading.size_estimate import check_disk_space
from harness.data.splits.split_file import SplitRow
from harness.data.windows.store_building import (
    CHUNK_SIDE,
    Progress,
    estimate_store_bytes,
    write_store,
)
from harness.data.windows.window import Shape, Window, check_window

Array8 = NDArray[np.uint8]
OnBuildStart = Callable[[int], Progress]

CODE_VERSION: Final = 1  # increase it when the values that this module writes change
_SMALLER: Final = "train on images of a data.image_size instead of tiles"
_ATTEMPTS: Final = 3  # another process may find the store damaged and delete it in the meantime


@dataclass(frozen=True, eq=False)
class NativeStore:
    """Window source of the train and validation images of a split; index i as in `ImageCache`.

    Attributes:
        sizes: int64 (N, 2), height and width of each image.
        first_chunks: int64 (N + 1,), index of the first chunk of each image.
    """

    images: ChunkFile
    masks: ChunkFile
    sizes: NDArray[np.int64]
    first_chunks: NDArray[np.int64]
    data: StudyDataConfig

    def __len__(self) -> int:
        return len(self.sizes)

    def shape(self, row: int) -> Shape:
        """Height, width and channels of image `row`."""
        height, width = self.sizes[row].tolist()
        return height, width, self.data.channels

    def read_image(self, row: int, window: Window) -> NDArray[Any]:
        """Window (h, w, C) of an image, as `WindowSource.read_image`."""
        dtype = np.uint16 if self.data.bit_depth == 16 else np.uint8
        return self._read(self.images, row, window, (self.data.channels,), dtype)

    def read_mask(self, row: int, window: Window) -> Array8:
        """Window (h, w) or (h, w, K) of a mask, as `WindowSource.read_mask`."""
        planes = () if self.data.n_mask_planes is None else (self.data.n_mask_planes,)
        return self._read(self.masks, row, window, planes, np.uint8)

    def _read(
        self, chunks: ChunkFile, row: int, window: Window, planes: tuple[int, ...], dtype: Any
    ) -> NDArray[Any]:
        height, width, _ = self.shape(row)
        check_window(window, (height, width, 1))
        result = np.empty((window.height, window.width, *planes), dtype)
        n_across = math.ceil(width / CHUNK_SIDE)
        for top in _chunk_starts(window.top, window.height):
            for left in _chunk_starts(window.left, window.width):
                index = self.first_chunks[row] + (top * n_across + left) // CHUNK_SIDE
                size = min(CHUNK_SIDE, height - top), min(CHUNK_SIDE, width - left)
                chunk = chunks.read(int(index), (*size, *planes), dtype)
                _copy_overlap(chunk, (top, left), result, (window.top, window.left))
        return result


def _chunk_starts(start: int, length: int) -> range:
    """First rows (or columns) of the chunks that a range of pixels touches."""
    return range(start // CHUNK_SIDE * CHUNK_SIDE, start + length, CHUNK_SIDE)


def _copy_overlap(
    source: NDArray[Any],
    source_corner: tuple[int, int],
    target: NDArray[Any],
    target_corner: tuple[int, int],
) -> None:
    """Copy the pixels that two regions share; both are given with their top left corner."""
    from_slices, to_slices = [], []
    for axis in (0, 1):
        source_start, target_start = source_corner[axis], target_corner[axis]
        start = max(source_start, target_start)
        end = min(source_start + source.shape[axis], target_start + target.shape[axis])
        from_slices.append(slice(start - source_start, end - source_start))
        to_slices.append(slice(start - target_start, end - target_start))
    target[tuple(to_slices)] = source[tuple(from_slices)]


def open_store(
    source: DataSource,
    rows: Sequence[SplitRow],
    data: StudyDataConfig,
    *,
    folder: Path,
    max_pixels: float,
    on_build_start: OnBuildStart | None = None,
) -> NativeStore:
    """Open the train and val images of a split at native size; build the store if it is absent.

    Test rows are left out and their files are never opened. The key is the content, as of
    `open_cache`. Two processes may build the same store simultaneously; either result serves both.

    Args:
        folder: folder of the caches; safe to delete.
        on_build_start: called with the estimated number of bytes to write if images must be
            decoded; returns a callback for the number of images done and the total.

    Raises:
        DataError: every image that cannot be used or has changed since the split; a full disk.
        OSError: a disk that fills up meanwhile; the error names a path.
    """
    stored_rows = [row for row in rows if row.role != "test"]
    store_folder = folder / store_key(stored_rows, data)
    for _ in range(_ATTEMPTS):
        existed = store_folder.is_dir()
        try:
            return _map_store(store_folder, len(stored_rows), data)
        except (OSError, ValueError):
            if existed:  # damaged; a folder that appeared since then belongs to another builder
                shutil.rmtree(store_folder, ignore_errors=True)
        n_bytes = estimate_store_bytes(source, stored_rows, data, max_pixels)
        check_disk_space(folder, n_bytes, "the images at their own sizes", _SMALLER)
        progress = None if on_build_start is None else on_build_start(n_bytes)
        with atomic_directory(store_folder) as temporary:
            write_store(temporary, source, stored_rows, data, max_pixels, progress)
    return _map_store(store_folder, len(stored_rows), data)


def store_key(rows: Sequence[SplitRow], data: StudyDataConfig) -> str:
    """Name of the folder of a store: a hash of all that its content depends on."""
    content = [row.hashes for row in rows if row.role != "test"]
    # Neither roles nor eval_size count: every study of the same images reads the same store.
    settings = data.model_dump(mode="json", exclude={"root", "range", "eval_size", "metrics_at"})
    key_parts = ["native", CODE_VERSION, cv2.__version__, settings, data.bit_depth, content]
    return hashlib.sha256(json.dumps(key_parts).encode()).hexdigest()[:32]


def _map_store(folder: Path, n: int, data: StudyDataConfig) -> NativeStore:
    """Map a finished store. Raises OSError or ValueError if it is absent or incomplete."""
    sizes = np.load(folder / "sizes.npy")
    if sizes.shape != (n, 2) or (sizes < 1).any():
        raise ValueError("the number of images differs from that of the request")
    n_chunks = np.prod(-(-sizes // CHUNK_SIDE), axis=1)
    first_chunks = np.concatenate([[0], np.cumsum(n_chunks)])
    total = int(first_chunks[-1])
    images, masks = (ChunkFile(folder, name, total) for name in ("images", "masks"))
    return NativeStore(images, masks, sizes, first_chunks, data)
