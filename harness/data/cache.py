"""Decoded, resized images on disk, memory-mapped: every trial of one size shares them."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import cv2
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from harness.data.pictures import read_pair
from harness.data.resize import Box, Fit, Size, content_box, fit_image, fit_mask, resize_truth
from harness.data.sources import list_problems
from harness.data.splits import SplitRow, inside
from harness.data.whole import building
from harness.data_config import StudyDataConfig
from harness.errors import DataError

Array8 = NDArray[np.uint8]
Progress = Callable[[int, int], None]

CODE_VERSION = 2  # raise it when the pixels that this module writes change
_AT_ONCE = 32
_ATTEMPTS = 3  # another process may find the cache damaged and remove it under our hands


@dataclass(frozen=True)
class ImageCache:
    """N images that are trained or validated on, read-only; index i means the same in each array.

    Copy what you hand to torch: `cache.images[[3, 1]]` does, `cache.images[1:3]` does not.

    Attributes:
        images: uint8 (N, h, w, 3), RGB.
        masks: uint8 (N, h, w) in {0, 1}; padding is 0.
        boxes: int64 (N, 4): top, left, height, width of the image inside (h, w).
        truths: uint8 (N, E, E) in {0, 1} at eval_size; 0 where the role is not val.
        row_of: int64 (N,): the row in `split.csv`.
        train: int64, the indices i of role train, rising.
        val: int64, the indices i of role val, rising.
        data: what the values mean.
    """

    images: Array8
    masks: Array8
    boxes: NDArray[np.int64]
    truths: Array8
    row_of: NDArray[np.int64]
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    data: StudyDataConfig


class _Entry(NamedTuple):
    image: Array8
    mask: Array8
    box: Box
    truth: Array8 | None


def open_cache(
    root: Path,
    rows: Sequence[SplitRow],
    data: StudyDataConfig,
    *,
    size: Size,
    fit: Fit,
    folder: Path,
    max_pixels: float,
    progress: Progress | None = None,
) -> ImageCache:
    """The train and val images of a split at `size` = (height, width), built at the first call.

    Test rows are left out, their files never opened. The cache is found by content (hashes of
    the files, sizes, versions), so that a changed image can never be served from an old one. Two
    processes may build the same one; either result serves both.

    Args:
        root: folder that the rows' paths are relative to.
        folder: where caches live; safe to delete.
        progress: called with images done and images in all.

    Raises:
        DataError: every image that cannot be used or changed since the split; or no room.
    """
    used = [row for row in rows if row.role != "test"]
    place = folder / _key(used, data, size, fit)
    for _ in range(_ATTEMPTS):
        existed = place.is_dir()
        try:
            return _open(place, used, data, size)
        except (OSError, ValueError):
            if existed:  # damaged; a folder that appeared meanwhile is another builder's
                shutil.rmtree(place, ignore_errors=True)
        _check_room(folder, len(used), size, data.eval_size)
        with building(place) as temporary:
            entries = _prepared(root, used, data, size, fit, max_pixels)
            _write(temporary, entries, used, size, data.eval_size, progress)
    return _open(place, used, data, size)


def _key(rows: Sequence[SplitRow], data: StudyDataConfig, size: Size, fit: Fit) -> str:
    content = [(row.row, row.role, row.image_sha256, row.mask_sha256) for row in rows]
    meaning = data.model_dump(mode="json", exclude={"root", "range"})
    what = [CODE_VERSION, cv2.__version__, size, fit, meaning, content]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


def _open(place: Path, rows: Sequence[SplitRow], data: StudyDataConfig, size: Size) -> ImageCache:
    """Map a finished cache. Raises OSError or ValueError when it is absent or not whole."""
    n, eval_size = len(rows), data.eval_size
    roles = np.array([row.role for row in rows])
    cache = ImageCache(
        images=np.load(place / "images.npy", mmap_mode="r"),
        masks=np.load(place / "masks.npy", mmap_mode="r"),
        boxes=np.load(place / "boxes.npy"),
        truths=np.load(place / "truths.npy", mmap_mode="r"),
        row_of=np.array([row.row for row in rows], np.int64),
        train=np.flatnonzero(roles == "train"),
        val=np.flatnonzero(roles == "val"),
        data=data,
    )
    shapes = [cache.images.shape, cache.masks.shape, cache.truths.shape, cache.boxes.shape]
    if shapes != [(n, *size, 3), (n, *size), (n, eval_size, eval_size), (n, 4)]:
        raise ValueError("other shapes than were asked for")
    return cache


def _check_room(folder: Path, n: int, size: Size, eval_size: int) -> None:
    needed = n * (4 * size[0] * size[1] + eval_size * eval_size)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: the decoded images need {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are "
            "free; make room there or lower data.image_size"
        )


def _prepared(
    root: Path,
    rows: Sequence[SplitRow],
    data: StudyDataConfig,
    size: Size,
    fit: Fit,
    max_pixels: float,
) -> Iterator[_Entry]:
    """The entries in order, decoded by threads, a bounded number at a time."""

    def prepare(row: SplitRow) -> _Entry | str:
        try:
            return _prepare(root, row, data, size, fit, max_pixels)
        except DataError as error:
            return str(error)

    problems: list[str] = []
    waiting = iter(rows)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while chunk := list(islice(waiting, _AT_ONCE)):
            for result in pool.map(prepare, chunk):
                if isinstance(result, str):
                    problems.append(result)
                elif not problems:
                    yield result
    if problems:
        raise list_problems(problems)


def _prepare(
    root: Path, row: SplitRow, data: StudyDataConfig, size: Size, fit: Fit, max_pixels: float
) -> _Entry:
    masks = [inside(root, mask) for mask in row.masks]
    pair = read_pair(inside(root, row.image), masks, data, max_pixels)
    if (pair.image_sha256, pair.mask_sha256) != (row.image_sha256, row.mask_sha256):
        raise DataError(f"{root / row.image}: image or mask has changed since the split was made")
    return _Entry(
        image=fit_image(pair.image, size, fit),
        mask=fit_mask(pair.mask, size, fit),
        box=content_box((pair.image.shape[0], pair.image.shape[1]), size, fit),
        truth=resize_truth(pair.mask, data.eval_size) if row.role == "val" else None,
    )


def _write(
    folder: Path,
    entries: Iterator[_Entry],
    rows: Sequence[SplitRow],
    size: Size,
    eval_size: int,
    progress: Progress | None,
) -> None:
    # Plain writes, no memory map: on a full disk a map kills the process, a write raises.
    n, area = len(rows), eval_size * eval_size
    boxes: list[Box] = []
    with ExitStack() as stack:
        images = stack.enter_context(_npy(folder / "images.npy", (n, *size, 3)))
        masks = stack.enter_context(_npy(folder / "masks.npy", (n, *size)))
        truths = stack.enter_context(_npy(folder / "truths.npy", (n, eval_size, eval_size)))
        for done, entry in enumerate(entries, start=1):
            images.write(entry.image.tobytes())
            masks.write(entry.mask.tobytes())
            if entry.truth is None:
                truths.seek(area, os.SEEK_CUR)  # a hole: reads as 0, takes no room
            else:
                truths.write(entry.truth.tobytes())
            boxes.append(entry.box)
            if progress is not None:
                progress(done, n)
        truths.truncate(truths.tell())
    np.save(folder / "boxes.npy", np.array(boxes, np.int64).reshape(n, 4))


@contextmanager
def _npy(path: Path, shape: tuple[int, ...]) -> Iterator[IO[bytes]]:
    """A .npy file of uint8 whose values are appended by the caller, fsynced at the end."""
    with path.open("wb") as handle:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(handle, header)
        yield handle
        handle.flush()
        os.fsync(handle.fileno())
