"""Every pair of a dataset, read once: what can be told of it without keeping its pixels."""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.data.copies import Copy, Thumbnail, find_copies, thumbnail
from harness.data.decode import load, mask_samples
from harness.data.looks import Key, Look, Seen, looks_path, read_looks, write_looks
from harness.data.mask_values import MaskValues, describe_values, joined
from harness.data.objects import count_objects
from harness.data.overlay import as_rgb
from harness.data.pictures import (
    EIGHT_BITS,
    LoadedPair,
    decode_image,
    decode_pair,
    load_pair,
)
from harness.data.sources import Dataset, Pair, list_problems
from harness.data.stored import Stored, describe_image
from harness.data.suspects import black_border, burnt_in_panels, burnt_in_text
from harness.data_config import VOID, StudyDataConfig
from harness.errors import DataError
from harness.wording import count

__all__ = [
    "BadPair",
    "Fingerprint",
    "Look",
    "Overview",
    "Progress",
    "Seen",
    "class_shares",
    "copies_among",
    "fingerprint",
    "look_at",
    "look_at_all",
    "look_over",
    "refuse_bad",
    "refuse_empty",
]

Progress = Callable[[int, int], None]

_THREADS = 4
_NOTHING: Final[Mapping[Key, Look]] = MappingProxyType({})


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
            with suppress(OSError):  # a folder that can only be read: the next look takes longer
                write_looks(place, (new if whole else {**kept, **new}).values())
    good = [pair for pair, one in zip(dataset.pairs, found, strict=True) if isinstance(one, Look)]
    bad = tuple(one for one in found if isinstance(one, BadPair))
    return Overview(replace(dataset, pairs=tuple(good)), tuple(looks), bad)


def refuse_bad(overview: Overview) -> None:
    """Raise DataError where a pair cannot be used: a line for each, and what to do."""
    if overview.bad:
        n = len(overview.bad)
        which = "1 pair cannot be used; mend it, or leave it out"
        if n > 1:
            which = f"{count(n, 'pair')} cannot be used; mend them, or leave them out"
        problems = [bad.problem for bad in overview.bad]
        raise list_problems(problems, remedy=f"{which} with --skip-bad")


def refuse_empty(overview: Overview) -> None:
    """Raise DataError where no pair can be used, as may be with --skip-bad."""
    if not overview.looks:
        root, n = overview.dataset.root, len(overview.bad)
        first = f"; the first: {overview.bad[0].problem}" if overview.bad else ""
        raise DataError(f"{root}: none of its {count(n, 'pair')} can be used{first}")


def look_at(dataset: Dataset, pair: Pair, kept: Mapping[Key, Look] = _NOTHING) -> Look | BadPair:
    """Read one pair, each file once; nothing is decoded of files that were looked at before.

    Args:
        kept: what was seen before, by the hashes of image and mask.
    """
    masks = [dataset.root / mask for mask in pair.masks]
    try:
        opened = load_pair(dataset.root / pair.image, masks, dataset.max_pixels)
    except DataError as error:
        return BadPair(pair, str(error), _values(dataset, pair), _stored(dataset, pair))
    if opened.hashes in kept:
        return kept[opened.hashes]
    values = None
    stored = describe_image(opened.image.header)
    try:
        raw = [mask_samples(mask) for mask in opened.masks]
        values = joined([describe_values(one) for one in raw])
        return _look(decode_pair(opened, raw, dataset.data), dataset.data, stored, values)
    except DataError as error:
        return BadPair(pair, str(error), values, stored)


def _look(loaded: LoadedPair, data: StudyDataConfig, stored: Stored, values: MaskValues) -> Look:
    image = loaded.image
    shown = as_rgb(image, data.range)
    return Look(
        image_sha256=loaded.image_sha256,
        mask_sha256=loaded.mask_sha256,
        pixels=_pixel_hash(image),
        thumbnail=thumbnail(shown),
        size=(image.shape[0], image.shape[1]),
        shares=class_shares(loaded.mask, data),
        seen=_seen(loaded, data, shown, stored, values),
    )


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What tells whether two images show the same; each field as in `Look`."""

    image_sha256: str
    pixels: str
    thumbnail: Thumbnail


def fingerprint(path: Path, data: StudyDataConfig, max_pixels: float) -> Fingerprint:
    """Decode one image, and no mask, for a comparison with others.

    Raises:
        DataError: as `harness.data.pictures.read_image`.
    """
    file = load(path, max_pixels)
    image = decode_image(file, data.channels, data.range)
    # A copy of 8 bits of an image of 16 has the same picture, in values of another range.
    span = EIGHT_BITS if file.header.bits == 8 else data.range
    return Fingerprint(
        hashlib.sha256(file.data).hexdigest(), _pixel_hash(image), thumbnail(as_rgb(image, span))
    )


def _pixel_hash(image: NDArray[np.integer]) -> str:
    return hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()


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
            yield from pool.map(lambda pair: look_at(dataset, pair, kept), dataset.pairs)
        finally:
            pool.shutdown(cancel_futures=True)  # nobody waits for the rest when interrupted


def _seen(
    loaded: LoadedPair,
    data: StudyDataConfig,
    shown: NDArray[np.uint8],
    stored: Stored,
    values: MaskValues,
) -> Seen:
    n_objects, n_vanishing = count_objects(loaded.mask, data)
    return Seen(
        stored=stored,
        mask=values,
        n_objects=n_objects,
        n_vanishing=n_vanishing,
        border=black_border(shown),
        text=burnt_in_text(shown),
        panels=burnt_in_panels(shown),
        greatest=int(loaded.image.max()),
        mask_pixels=_pixel_hash(loaded.mask),
    )


def _values(dataset: Dataset, pair: Pair) -> MaskValues | None:
    """The values in a pair's masks where its image cannot be read; None where they cannot be."""
    try:
        masks = [load(dataset.root / mask, dataset.max_pixels) for mask in pair.masks]
        return joined([describe_values(mask_samples(mask)) for mask in masks])
    except DataError:
        return None


def _stored(dataset: Dataset, pair: Pair) -> Stored | None:
    try:
        return describe_image(load(dataset.root / pair.image, dataset.max_pixels).header)
    except DataError:
        return None


def _key(look: Look) -> Key:
    return look.image_sha256, look.mask_sha256
