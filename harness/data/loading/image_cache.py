"""Cache of decoded, resized images on disk, compressed and shared by all trials of one size."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.atomic_dir import atomic_directory
from harness.core.errors import DataError
from harness.core.files import TRANSIENT_ERRNOS, find_disk_error
from harness.data.datasets.sources import problems_error
from harness.data.files.chunks import ChunkFile, encode_chunk, open_npy, write_chunks
from harness.data.files.image_io import read_pair
from harness.data.files.packed_array import PackedArray
from harness.data.files.resize import (
    Box,
    Fit,
    Size,
    content_box,
    fit_image,
    fit_mask,
    pad_to,
    resize_truth,
)
from harness.data.files.source import DataSource
from harness.data.loading.size_estimate import check_disk_space, estimate_bytes
from harness.data.splits.splits import SplitRow
from harness.data.windows.large_pair import LargePair, open_large_pair
from harness.data.windows.overview import reduce_pair

Array8 = NDArray[np.uint8]
Progress = Callable[[int, int], None]
OnBuildStart = Callable[[int], Progress]

CODE_VERSION = 3  # increase it when the pixels that this module writes change
_ARRAYS: Final = ("images", "masks", "truths")
_CHUNK_SIZE = 32
_ATTEMPTS = 3  # another process may find the cache damaged and delete it in the meantime


@dataclass(frozen=True)
class ImageCache:
    """N read-only images for training and validation; index i means the same image in each array.

    Arrays from a cache folder stay compressed until an image is read.

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


class _CacheEntry(NamedTuple):
    """Chunks and box of one image; the truth of a training image is empty."""

    image: bytes
    mask: bytes
    truth: bytes
    box: Box


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
            entries = _decode_entries(source, cached_rows, data, size, fit, max_pixels)
            _write_cache(temporary, entries, len(cached_rows), progress)
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
        PackedArray(ChunkFile(folder, name, n), shape, dtype)
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
        entry = _decode_entry(source, row, data, size, fit, max_pixels)
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


def _decode_entries(
    source: DataSource,
    rows: Sequence[SplitRow],
    data: StudyDataConfig,
    size: Size,
    fit: Fit,
    max_pixels: float,
) -> Iterator[_CacheEntry]:
    """Yield the entries in order, decoded by threads in chunks to bound memory."""

    def try_decode(row: SplitRow) -> _CacheEntry | DataError:
        try:
            return _decode_entry(source, row, data, size, fit, max_pixels)
        except DataError as error:
            return error

    problems: list[DataError] = []
    remaining = iter(rows)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while chunk := list(islice(remaining, _CHUNK_SIZE)):
            # map keeps the order; index i must mean the same image in every array.
            for result in pool.map(try_decode, chunk):
                if isinstance(result, DataError):
                    problems.append(result)
                elif not problems:
                    yield result
    if problems:
        transient = (
            error for error in problems if find_disk_error(error, TRANSIENT_ERRNOS) is not None
        )
        raise problems_error([str(error) for error in problems]) from next(transient, problems[0])


def _decode_entry(
    source: DataSource,
    row: SplitRow,
    data: StudyDataConfig,
    size: Size,
    fit: Fit,
    max_pixels: float,
) -> _CacheEntry:
    # The hashes are compared while reading: a file that changed after the split must not be trained
    # on under its old identity.
    with open_large_pair(source, row.image, row.masks, data, max_pixels) as large:
        if large is not None:
            return _reduce_entry(large, row, size, fit)
    pair = read_pair(source, row.image, row.masks, data, max_pixels, row.hashes)
    nearest = data.uses_nearest_resize
    padding = _mask_padding(data)
    truth = b""
    if row.role == "val":
        truth = encode_chunk(resize_truth(pair.mask, data.eval_size, nearest=nearest))
    return _CacheEntry(
        image=encode_chunk(fit_image(pair.image, size, fit)),
        mask=encode_chunk(fit_mask(pair.mask, size, fit, nearest=nearest, padding=padding)),
        truth=truth,
        box=content_box((pair.image.shape[0], pair.image.shape[1]), size, fit),
    )


def _reduce_entry(pair: LargePair, row: SplitRow, size: Size, fit: Fit) -> _CacheEntry:
    """Decode an entry in bands."""
    data = pair.data
    box = content_box((pair.header.height, pair.header.width), size, fit)
    is_val, content_size = row.role == "val", (box[2], box[3])
    mask_sizes = [content_size] + [(data.eval_size, data.eval_size)] * is_val
    image, masks = reduce_pair(
        pair, content_size, mask_sizes, nearest=data.uses_nearest_resize, hashes=row.hashes
    )
    return _CacheEntry(
        image=encode_chunk(pad_to(image, size, 0)),
        mask=encode_chunk(pad_to(masks[0], size, _mask_padding(data))),
        truth=encode_chunk(masks[1]) if is_val else b"",
        box=box,
    )


def _mask_padding(data: StudyDataConfig) -> int:
    return IGNORE_INDEX if data.task == "multiclass" else 0


def _write_cache(
    folder: Path, entries: Iterator[_CacheEntry], n: int, progress: Progress | None
) -> None:
    boxes: list[Box] = []
    with ExitStack() as stack:
        writers = [stack.enter_context(write_chunks(folder, name)) for name in _ARRAYS]
        for n_done, entry in enumerate(entries, start=1):
            chunks = entry.image, entry.mask, entry.truth
            for writer, chunk in zip(writers, chunks, strict=True):
                writer.append(chunk)
            boxes.append(entry.box)
            if progress is not None:
                progress(n_done, n)
    with open_npy(folder / "boxes.npy", (n, 4), "<i8") as handle:
        handle.write(np.array(boxes, "<i8").tobytes())
