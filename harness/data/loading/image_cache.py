"""Cache of decoded, resized images on disk, shared by all trials of one size."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core.atomic_dir import atomic_directory
from harness.data.files.chunks import ChunkFile, open_npy, write_chunks
from harness.data.files.packed_array import PackedArray
from harness.data.files.resize import Box, Fit, Size
from harness.data.files.source import DataSource
from harness.data.loading.cache_entries import (
    MASK_CODEC,
    CacheEntry,
    decode_entries,
    decode_entry,
    is_decoded,
)
from harness.data.loading.size_estimate import check_disk_space, estimate_bytes
from harness.data.splits.splits import SplitRow

Array8 = NDArray[np.uint8]
Progress = Callable[[int, int], None]
OnBuildStart = Callable[[int], Progress]

CODE_VERSION = 3  # increase it when the pixels that this module writes change
_ARRAYS: Final = ("images", "masks", "truths")
_ATTEMPTS = 3  # another process may find the cache damaged and delete it in the meantime


@dataclass(frozen=True)
class ImageCache:
    """N read-only images for training and validation; index i means the same image in each array.

    Arrays from a cache folder are mapped; masks and truths stay compressed until they are read.
    Of trials on tiles (fit `shrink`) it holds the validation images alone, as a whole, and 0 in the
    place of training images.

    Attributes:
        images: uint8 or uint16 (N, h, w, C), values as stored.
        masks: uint8 (N, h, w), or (N, h, w, K) in a multilabel task; values as in `read_mask`.
            Padding is 0, or IGNORE_INDEX in a multiclass task.
        boxes: int64 (N, 4): top, left, height, width of the content inside (h, w).
        truths: as masks, (N, E, E) or (N, E, E, K) at eval_size; 0 for roles other than val.
        row_of: int64 (N,): the row in `split.csv`.
        train: int64, the indices i of role train, ascending.
        val: int64, the indices i of role val, ascending.
        data: settings that give the values their meaning.
    """

    images: NDArray[Any] | PackedArray
    masks: Array8 | PackedArray
    boxes: NDArray[np.int64]
    truths: Array8 | PackedArray
    row_of: NDArray[np.int64]
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    data: StudyDataConfig


def open_cache(
    source: DataSource,
    rows: Sequence[SplitRow],
    data: StudyDataConfig,
    *,
    size: Size,
    fit: Fit,
    folder: Path,
    max_pixels: float,
    on_build_start: OnBuildStart | None = None,
) -> ImageCache:
    """Open the train and val images of a split at `size` = (height, width); build them if absent.

    Test rows are left out and their files are never opened. The cache key is the content (hashes of
    the files, sizes, versions), so a changed image never comes from an old cache. Two processes may
    build the same cache simultaneously; either result serves both.

    Args:
        source: read access to the files that the rows name.
        folder: folder of the caches; safe to delete.
        on_build_start: called with the estimated number of bytes to write if images must be
            decoded; returns a callback for the number of images done and the total.

    Raises:
        DataError: every image that cannot be used or has changed since the split; a full disk.
    """
    cached_rows = [row for row in rows if row.role != "test"]
    cache_folder = folder / cache_key(rows, data, size, fit)
    for _ in range(_ATTEMPTS):
        existed = cache_folder.is_dir()
        try:
            return _map_cache(cache_folder, cached_rows, data, size)
        except (OSError, ValueError):
            if existed:  # damaged; a folder that appeared since then belongs to another builder
                shutil.rmtree(cache_folder, ignore_errors=True)
        n_bytes = estimate_cache_bytes(
            source, cached_rows, data, size=size, fit=fit, max_pixels=max_pixels
        )
        check_disk_space(folder, n_bytes, "the decoded images", "lower data.image_size")
        progress = None if on_build_start is None else on_build_start(n_bytes)
        with atomic_directory(cache_folder) as temporary:
            entries = decode_entries(source, cached_rows, data, size, fit, max_pixels)
            counted = [is_decoded(row, fit) for row in cached_rows]
            _write_cache(temporary, entries, counted, progress)
    return _map_cache(cache_folder, cached_rows, data, size)


def cache_key(rows: Sequence[SplitRow], data: StudyDataConfig, size: Size, fit: Fit) -> str:
    """Name of the folder with the cache of a split: a hash of all that its content depends on."""
    rows = [row for row in rows if row.role != "test"]
    content = [(row.row, row.role, row.image_sha256, row.mask_sha256) for row in rows]
    # The range is applied after the cache, which holds the values as stored. OpenCV's version
    # counts, as its resizing may change between versions.
    data_settings = data.model_dump(mode="json", exclude={"root", "range", "metrics_at"})
    key_parts = [CODE_VERSION, cv2.__version__, size, fit, data_settings, content]
    # The depth of the stored values follows from the range. Only 16 bits enter the key, so that
    # caches of 8 bits, which are nearly all, keep the key that they were built under.
    if data.bit_depth == 16:
        key_parts.append(data.bit_depth)
    if fit == "shrink":  # earlier versions also decoded the training images
        key_parts.append("val")
    return hashlib.sha256(json.dumps(key_parts).encode()).hexdigest()[:32]


def _map_cache(
    folder: Path, rows: Sequence[SplitRow], data: StudyDataConfig, size: Size
) -> ImageCache:
    """Map a finished cache. Raises OSError or ValueError if it is absent or incomplete."""
    n = len(rows)
    roles = np.array([row.role for row in rows])
    image_dtype = np.uint16 if data.bit_depth == 16 else np.uint8
    dtypes = (image_dtype, np.uint8, np.uint8)
    images, masks, truths = (
        PackedArray(ChunkFile(folder, name, n, MASK_CODEC), shape, dtype)
        for name, shape, dtype in zip(_ARRAYS, _array_shapes(n, data, size), dtypes, strict=True)
    )
    boxes = np.load(folder / "boxes.npy")
    if boxes.shape != (n, 4):
        raise ValueError("the number of images differs from that of the request")
    return ImageCache(
        images=images,
        masks=masks,
        boxes=boxes,
        truths=truths,
        row_of=np.array([row.row for row in rows], np.int64),
        train=np.flatnonzero(roles == "train"),
        val=np.flatnonzero(roles == "val"),
        data=data,
    )


def _array_shapes(n: int, data: StudyDataConfig, size: Size) -> list[tuple[int, ...]]:
    """Shapes of images, masks and truths of n rows."""
    planes = () if data.n_mask_planes is None else (data.n_mask_planes,)
    at_eval = (n, data.eval_size, data.eval_size, *planes)
    return [(n, *size, data.channels), (n, *size, *planes), at_eval]


def estimate_cache_bytes(
    source: DataSource,
    rows: Sequence[SplitRow],
    data: StudyDataConfig,
    *,
    size: Size,
    fit: Fit,
    max_pixels: float,
) -> int:
    """Estimate the size of the cache of a split at `size` from some images of each role.

    If none of them can be read, it is the size without compression.
    """

    def compress(row: SplitRow) -> int:
        entry = decode_entry(source, row, data, size, fit, max_pixels)
        return len(entry.image) + len(entry.mask) + len(entry.truth)

    plain = [math.prod(shape) for shape in _array_shapes(1, data, size)]
    plain[0] *= data.bit_depth // 8
    total = 0
    for role in ("train", "val"):
        role_rows = [row for row in rows if row.role == role]
        estimate = estimate_bytes(role_rows, compress)
        plain_bytes = sum(plain) if role == "val" else sum(plain[:2])  # no truths of training
        total += len(role_rows) * plain_bytes if estimate is None else estimate
    return total


def _write_cache(
    folder: Path,
    entries: Iterator[CacheEntry],
    counted: Sequence[bool],
    progress: Progress | None,
) -> None:
    """Write the entries in order; the progress counts those that are decoded."""
    boxes: list[Box] = []
    n_done, total = 0, sum(counted)
    with ExitStack() as stack:
        writers = [stack.enter_context(write_chunks(folder, name)) for name in _ARRAYS]
        for entry, is_counted in zip(entries, counted, strict=True):
            chunks = entry.image, entry.mask, entry.truth
            for writer, chunk in zip(writers, chunks, strict=True):
                writer.append(chunk)
            boxes.append(entry.box)
            n_done += is_counted
            if progress is not None and is_counted:
                progress(n_done, total)
    with open_npy(folder / "boxes.npy", (len(counted), 4), "<i8") as handle:
        handle.write(np.array(boxes, "<i8").tobytes())
