"""Every pair of a dataset, read once: what can be told of it without keeping its pixels."""

import hashlib
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness import files
from harness.data.copies import Copy, find_copies, thumbnail
from harness.data.looks import Key, Look, Seen, looks_path, read_looks, write_looks
from harness.data.objects import count_objects
from harness.data.overlay import as_rgb
from harness.data.pictures import LoadedPair, read_pair
from harness.data.sources import Dataset, Pair, list_problems
from harness.data.stored import (
    MaskValues,
    Stored,
    describe_image,
    describe_mask,
    joined,
    read_bounded,
)
from harness.data.suspects import black_border, burnt_in_panels, burnt_in_text
from harness.data_config import VOID, StudyDataConfig
from harness.errors import DataError

__all__ = [
    "BadPair",
    "Look",
    "Overview",
    "Progress",
    "Seen",
    "class_shares",
    "copies_among",
    "look_at",
    "look_at_all",
    "look_over",
    "refuse_bad",
]

Progress = Callable[[int, int], None]

_THREADS = 4


@dataclass(frozen=True)
class BadPair:
    """A pair that cannot be used, and why in one line.

    `values` and `stored` are what its files hold all the same; None where that cannot be told.
    """

    pair: Pair
    problem: str
    values: MaskValues | None
    stored: Stored | None


@dataclass(frozen=True)
class Overview:
    """A dataset of the pairs that can be used, the looks at them in order, and the other pairs."""

    dataset: Dataset
    looks: tuple[Look, ...]
    bad: tuple[BadPair, ...]


def look_at_all(
    dataset: Dataset, progress: Progress | None = None, cache: Path | None = None
) -> list[Look]:
    """Read every pair of a dataset, in order.

    Args:
        progress: called with pairs done and pairs in all.
        cache: the folder where looks are kept by content; None keeps none.

    Raises:
        DataError: every file that cannot be used.
    """
    overview = look_over(dataset, progress, cache)
    refuse_bad(overview)
    return list(overview.looks)


def look_over(
    dataset: Dataset, progress: Progress | None = None, cache: Path | None = None
) -> Overview:
    """As `look_at_all`, but pairs that cannot be used are named beside those that can."""
    place = None if cache is None else looks_path(cache, dataset.name, dataset.data)
    kept = {} if place is None else read_looks(place)
    found: list[Look | BadPair] = []
    try:
        with closing(_all(dataset, kept)) as all_of_them:
            for one in all_of_them:
                found.append(one)
                if progress is not None:
                    progress(len(found), len(dataset.pairs))
    finally:  # also when interrupted: what was seen need not be seen again
        looks = [one for one in found if isinstance(one, Look)]
        new = {_key(look): look for look in looks}
        if place is not None and new.keys() - kept.keys():
            whole = len(found) == len(dataset.pairs)
            write_looks(place, (new if whole else {**kept, **new}).values())
    good = [pair for pair, one in zip(dataset.pairs, found, strict=True) if isinstance(one, Look)]
    bad = tuple(one for one in found if isinstance(one, BadPair))
    return Overview(replace(dataset, pairs=tuple(good)), tuple(looks), bad)


def refuse_bad(overview: Overview) -> None:
    """Raise DataError where a pair cannot be used: a line for each, and what to do."""
    if overview.bad:
        raise list_problems(
            [bad.problem for bad in overview.bad],
            remedy=f"{len(overview.bad)} pairs cannot be used; mend them, or leave them out with "
            "--skip-bad",
        )


def look_at(dataset: Dataset, pair: Pair) -> Look | DataError:
    """Read one pair; what is wrong with it is returned."""
    masks = [dataset.root / mask for mask in pair.masks]
    try:
        loaded = read_pair(dataset.root / pair.image, masks, dataset.data, dataset.max_pixels)
    except DataError as error:
        return error
    image = loaded.image
    shown = as_rgb(image, dataset.data.range)
    return Look(
        image_sha256=loaded.image_sha256,
        mask_sha256=loaded.mask_sha256,
        pixels=hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest(),
        thumbnail=thumbnail(shown),
        size=(image.shape[0], image.shape[1]),
        shares=class_shares(loaded.mask, dataset.data),
        seen=_seen(dataset, pair, loaded, shown),
    )


def copies_among(looks: Sequence[Look]) -> list[Copy]:
    """Which looks, by index, are at the same picture: see `find_copies`."""
    return find_copies([look.pixels for look in looks], [look.thumbnail for look in looks])


def class_shares(mask: NDArray[np.uint8], data: StudyDataConfig) -> tuple[float, ...]:
    """The share of each class among the pixels of a decoded mask that are not void."""
    if mask.ndim == 3:
        return tuple(float(share) for share in mask.mean(axis=(0, 1)))
    counts = np.bincount(mask[mask != VOID], minlength=len(data.classes))
    return tuple(float(count) / max(int(counts.sum()), 1) for count in counts)


def _all(dataset: Dataset, kept: dict[Key, Look]) -> Generator[Look | BadPair]:
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            yield from pool.map(lambda pair: _look(dataset, pair, kept), dataset.pairs)
        finally:
            pool.shutdown(cancel_futures=True)  # nobody waits for the rest when interrupted


def _look(dataset: Dataset, pair: Pair, kept: dict[Key, Look]) -> Look | BadPair:
    if kept:
        known = kept.get(_hashes(dataset, pair))
        if known is not None:
            return known
    look = look_at(dataset, pair)
    if isinstance(look, Look):
        return look
    return BadPair(pair, str(look), _values(dataset, pair), _stored(dataset, pair))


def _seen(dataset: Dataset, pair: Pair, loaded: LoadedPair, shown: NDArray[np.uint8]) -> Seen:
    n_objects, n_vanishing = count_objects(loaded.mask, dataset.data)
    return Seen(
        stored=_stored(dataset, pair) or Stored(),  # None: replaced since it was read
        mask=_values(dataset, pair) or MaskValues(),
        n_objects=n_objects,
        n_vanishing=n_vanishing,
        border=black_border(shown),
        text=burnt_in_text(shown),
        panels=burnt_in_panels(shown),
        greatest=int(loaded.image.max()),
    )


def _values(dataset: Dataset, pair: Pair) -> MaskValues | None:
    """The values in a pair's masks, whatever they mean; None where they cannot be decoded."""
    try:
        files_of = [read_bounded(dataset.root / mask, dataset.max_pixels) for mask in pair.masks]
        return joined([describe_mask(data) for data in files_of])
    except (DataError, OSError, ValueError):
        return None


def _stored(dataset: Dataset, pair: Pair) -> Stored | None:
    try:
        return describe_image(read_bounded(dataset.root / pair.image, dataset.max_pixels))
    except (DataError, OSError, ValueError):
        return None


def _hashes(dataset: Dataset, pair: Pair) -> Key:
    """Of the files as they are now."""
    try:
        image = files.sha256(dataset.root / pair.image)
        masks = [files.sha256(dataset.root / mask) for mask in pair.masks]
    except OSError:
        return "", ""
    return image, files.joined_sha256(masks)


def _key(look: Look) -> Key:
    return look.image_sha256, look.mask_sha256
