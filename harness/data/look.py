"""Every pair of a dataset, read once: what can be told of it without keeping its pixels."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.copies import Thumbnail, thumbnail
from harness.data.pictures import read_pair
from harness.data.sources import Dataset, Pair, list_problems
from harness.data_config import VOID, StudyDataConfig
from harness.errors import DataError

Progress = Callable[[int, int], None]

_THREADS = 4


@dataclass(frozen=True, eq=False)
class Look:
    """What is remembered of a pair.

    Attributes:
        pixels: SHA-256 of the decoded image and its shape.
        size: height and width in pixels.
        shares: for each class, its share of the pixels that count, 0 to 1.
    """

    image_sha256: str
    mask_sha256: str
    pixels: str
    thumbnail: Thumbnail
    size: tuple[int, int]
    shares: tuple[float, ...]


def look_at_all(dataset: Dataset, progress: Progress | None = None) -> list[Look]:
    """Read every pair of a dataset, in order.

    Args:
        progress: called with pairs done and pairs in all.

    Raises:
        DataError: every file that cannot be used.
    """
    looks: list[Look] = []
    problems: list[str] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(lambda pair: look_at(dataset, pair), dataset.pairs)
        for done, result in enumerate(results, start=1):
            if isinstance(result, Look):
                looks.append(result)
            else:
                problems.append(str(result))
            if progress is not None:
                progress(done, len(dataset.pairs))
    if problems:
        raise list_problems(problems)
    return looks


def look_at(dataset: Dataset, pair: Pair) -> Look | DataError:
    """Read one pair; what is wrong with it is returned."""
    masks = [dataset.root / mask for mask in pair.masks]
    try:
        loaded = read_pair(dataset.root / pair.image, masks, dataset.data, dataset.max_pixels)
    except DataError as error:
        return error
    image = loaded.image
    return Look(
        image_sha256=loaded.image_sha256,
        mask_sha256=loaded.mask_sha256,
        pixels=hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest(),
        thumbnail=thumbnail(image),
        size=(image.shape[0], image.shape[1]),
        shares=class_shares(loaded.mask, dataset.data),
    )


def class_shares(mask: NDArray[np.uint8], data: StudyDataConfig) -> tuple[float, ...]:
    """The share of each class among the pixels of a decoded mask that are not void."""
    if mask.ndim == 3:
        return tuple(float(share) for share in mask.mean(axis=(0, 1)))
    counts = np.bincount(mask[mask != VOID], minlength=len(data.classes))
    return tuple(float(count) / max(int(counts.sum()), 1) for count in counts)
