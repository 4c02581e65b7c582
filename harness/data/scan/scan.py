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

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.errors import DataError
from harness.core.plurals import count
from harness.data.datasets.sources import Dataset, ImageMaskPair, problems_error
from harness.data.files.decode import load_image_file, mask_samples
from harness.data.files.file_info import ImageFileInfo, describe_image
from harness.data.files.image_io import (
    RANGE_8_BIT,
    LoadedPair,
    decode_image,
    decode_pair,
    load_pair,
)
from harness.data.files.mask_values import MaskValues, describe_values, merge_values
from harness.data.files.overlay import as_rgb
from harness.data.scan.image_artifacts import black_border, burnt_in_panels, burnt_in_text
from harness.data.scan.near_duplicates import DuplicatePair, Thumbnail, find_duplicates, thumbnail
from harness.data.scan.objects import count_mask_objects
from harness.data.scan.scan_cache import (
    ImageFacts,
    PairHashes,
    PairStats,
    read_scan_cache,
    scan_cache_path,
    write_scan_cache,
)

__all__ = [
    "BadPair",
    "DatasetScan",
    "ImageFacts",
    "ImageFingerprint",
    "PairStats",
    "Progress",
    "check_no_bad_pairs",
    "check_not_empty",
    "class_shares",
    "duplicates_among",
    "fingerprint_image",
    "scan_dataset",
    "scan_dataset_strict",
    "scan_pair",
]

Progress = Callable[[int, int], None]

_THREADS = 4
_EMPTY_CACHE: Final[Mapping[PairHashes, PairStats]] = MappingProxyType({})


@dataclass(frozen=True)
class BadPair:
    """A pair that cannot be used, and why in one line.

    `values` and `stored` are what its files hold all the same; None where that cannot be told.
    """

    pair: ImageMaskPair
    problem: str
    values: MaskValues | None
    stored: ImageFileInfo | None


@dataclass(frozen=True)
class DatasetScan:
    """A dataset of the pairs that can be used, the looks at them in order, and the other pairs."""

    dataset: Dataset
    pair_stats: tuple[PairStats, ...]
    bad_pairs: tuple[BadPair, ...]


def scan_dataset_strict(
    dataset: Dataset, progress: Progress | None = None, cache: Path | None = None
) -> list[PairStats]:
    """Read every pair of a dataset, in order.

    Args:
        progress: called with pairs done and pairs in all.
        cache: the folder where looks are kept by content; None keeps none.

    Raises:
        DataError: every file that cannot be used.
    """
    scan = scan_dataset(dataset, progress, cache)
    check_no_bad_pairs(scan)
    return list(scan.pair_stats)


def scan_dataset(
    dataset: Dataset, progress: Progress | None = None, cache: Path | None = None
) -> DatasetScan:
    """As `scan_dataset_strict`, but pairs that cannot be used are named beside those that can."""
    cache_path = None if cache is None else scan_cache_path(cache, dataset.name, dataset.data)
    cached = {} if cache_path is None else read_scan_cache(cache_path)
    results: list[PairStats | BadPair] = []
    try:
        with closing(_scan_pairs(dataset, cached)) as result_stream:
            for result in result_stream:
                results.append(result)
                if progress is not None:
                    progress(len(results), len(dataset.pairs))
    finally:  # also when interrupted: what was seen need not be seen again
        pair_stats = [result for result in results if isinstance(result, PairStats)]
        new = {_stats_key(stats): stats for stats in pair_stats}
        if cache_path is not None and new.keys() - cached.keys():
            complete = len(results) == len(dataset.pairs)
            with suppress(OSError):  # a folder that can only be read: the next look takes longer
                write_scan_cache(cache_path, (new if complete else {**cached, **new}).values())
    good = [
        pair
        for pair, result in zip(dataset.pairs, results, strict=True)
        if isinstance(result, PairStats)
    ]
    bad = tuple(result for result in results if isinstance(result, BadPair))
    return DatasetScan(replace(dataset, pairs=tuple(good)), tuple(pair_stats), bad)


def check_no_bad_pairs(scan: DatasetScan) -> None:
    """Raise DataError where a pair cannot be used: a line for each, and what to do."""
    if scan.bad_pairs:
        n = len(scan.bad_pairs)
        summary = "1 pair cannot be used; mend it, or leave it out"
        if n > 1:
            summary = f"{count(n, 'pair')} cannot be used; mend them, or leave them out"
        problems = [bad.problem for bad in scan.bad_pairs]
        raise problems_error(problems, remedy=f"{summary} with --skip-bad")


def check_not_empty(scan: DatasetScan) -> None:
    """Raise DataError where no pair can be used, as may be with --skip-bad."""
    if not scan.pair_stats:
        root, n = scan.dataset.root, len(scan.bad_pairs)
        first = f"; the first: {scan.bad_pairs[0].problem}" if scan.bad_pairs else ""
        raise DataError(f"{root}: none of its {count(n, 'pair')} can be used{first}")


def scan_pair(
    dataset: Dataset, pair: ImageMaskPair, cached: Mapping[PairHashes, PairStats] = _EMPTY_CACHE
) -> PairStats | BadPair:
    """Read one pair, each file once; nothing is decoded of files that were looked at before.

    Args:
        cached: what was seen before, by the hashes of image and mask.
    """
    masks = [dataset.root / mask for mask in pair.masks]
    try:
        pair_files = load_pair(dataset.root / pair.image, masks, dataset.max_pixels)
    except DataError as error:
        return BadPair(
            pair, str(error), _read_mask_values(dataset, pair), _read_file_info(dataset, pair)
        )
    if pair_files.hashes in cached:
        return cached[pair_files.hashes]
    values = None
    stored = describe_image(pair_files.image.header)
    try:
        raw = [mask_samples(mask) for mask in pair_files.masks]
        values = merge_values([describe_values(raw_mask) for raw_mask in raw])
        return _compute_pair_stats(
            decode_pair(pair_files, raw, dataset.data), dataset.data, stored, values
        )
    except DataError as error:
        return BadPair(pair, str(error), values, stored)


def _compute_pair_stats(
    loaded: LoadedPair, data: StudyDataConfig, stored: ImageFileInfo, values: MaskValues
) -> PairStats:
    image = loaded.image
    rgb = as_rgb(image, data.range)
    return PairStats(
        image_sha256=loaded.image_sha256,
        mask_sha256=loaded.mask_sha256,
        pixels=_pixel_hash(image),
        thumbnail=thumbnail(rgb),
        size=(image.shape[0], image.shape[1]),
        shares=class_shares(loaded.mask, data),
        seen=_compute_image_facts(loaded, data, rgb, stored, values),
    )


@dataclass(frozen=True, eq=False)
class ImageFingerprint:
    """What tells whether two images show the same; each field as in `Look`."""

    image_sha256: str
    pixels: str
    thumbnail: Thumbnail


def fingerprint_image(path: Path, data: StudyDataConfig, max_pixels: float) -> ImageFingerprint:
    """Decode one image, and no mask, for a comparison with others.

    Raises:
        DataError: as `harness.data.files.image_io.read_image`.
    """
    file = load_image_file(path, max_pixels)
    image = decode_image(file, data.channels, data.range)
    # A copy of 8 bits of an image of 16 has the same picture, in values of another range.
    span = RANGE_8_BIT if file.header.bits == 8 else data.range
    return ImageFingerprint(
        hashlib.sha256(file.data).hexdigest(), _pixel_hash(image), thumbnail(as_rgb(image, span))
    )


def _pixel_hash(image: NDArray[np.integer]) -> str:
    return hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()


def duplicates_among(pair_stats: Sequence[PairStats]) -> list[DuplicatePair]:
    """Which looks, by index, are at the same picture: see `find_duplicates`."""
    return find_duplicates(
        [stats.pixels for stats in pair_stats], [stats.thumbnail for stats in pair_stats]
    )


def class_shares(mask: NDArray[np.uint8], data: StudyDataConfig) -> tuple[float, ...]:
    """The share of each class among the pixels of a decoded mask that are not void."""
    if mask.ndim == 3:
        return tuple(float(share) for share in mask.mean(axis=(0, 1)))
    counts = np.bincount(mask[mask != IGNORE_INDEX], minlength=len(data.classes))
    return tuple(float(count) / max(int(counts.sum()), 1) for count in counts)


def _scan_pairs(
    dataset: Dataset, cached: dict[PairHashes, PairStats]
) -> Generator[PairStats | BadPair]:
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            yield from pool.map(lambda pair: scan_pair(dataset, pair, cached), dataset.pairs)
        finally:
            pool.shutdown(cancel_futures=True)  # nobody waits for the rest when interrupted


def _compute_image_facts(
    loaded: LoadedPair,
    data: StudyDataConfig,
    rgb: NDArray[np.uint8],
    stored: ImageFileInfo,
    values: MaskValues,
) -> ImageFacts:
    n_objects, n_vanishing = count_mask_objects(loaded.mask, data)
    return ImageFacts(
        stored=stored,
        mask=values,
        n_objects=n_objects,
        n_vanishing=n_vanishing,
        border=black_border(rgb),
        text=burnt_in_text(rgb),
        panels=burnt_in_panels(rgb),
        greatest=int(loaded.image.max()),
        mask_pixels=_pixel_hash(loaded.mask),
    )


def _read_mask_values(dataset: Dataset, pair: ImageMaskPair) -> MaskValues | None:
    """The values in a pair's masks where its image cannot be read; None where they cannot be."""
    try:
        masks = [load_image_file(dataset.root / mask, dataset.max_pixels) for mask in pair.masks]
        return merge_values([describe_values(mask_samples(mask)) for mask in masks])
    except DataError:
        return None


def _read_file_info(dataset: Dataset, pair: ImageMaskPair) -> ImageFileInfo | None:
    try:
        return describe_image(load_image_file(dataset.root / pair.image, dataset.max_pixels).header)
    except DataError:
        return None


def _stats_key(stats: PairStats) -> PairHashes:
    return stats.image_sha256, stats.mask_sha256
