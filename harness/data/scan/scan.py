"""Scan a dataset: read every pair once and keep statistics and problems, not pixels."""

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness.core.errors import DataError
from harness.core.text import count
from harness.data.datasets.sources import Dataset, problems_error
from harness.data.files.image_io import PairHashes
from harness.data.scan.near_duplicates import DuplicatePair, find_duplicates
from harness.data.scan.pair_scan import BadPair, scan_pair
from harness.data.scan.scan_cache import (
    ImageFacts,
    PairStats,
    read_scan_cache,
    scan_cache_path,
    write_scan_cache,
)

__all__ = [
    "BadPair",
    "DatasetScan",
    "ImageFacts",
    "PairStats",
    "Progress",
    "check_no_bad_pairs",
    "check_not_empty",
    "duplicates_among",
    "scan_dataset",
    "scan_dataset_strict",
    "scan_pair",
]

Progress = Callable[[int, int], None]

_THREADS = 4


@dataclass(frozen=True)
class DatasetScan:
    """Dataset of the usable pairs, their statistics in the same order, and the unusable pairs."""

    dataset: Dataset
    pair_stats: tuple[PairStats, ...]
    bad_pairs: tuple[BadPair, ...]


def scan_dataset_strict(
    dataset: Dataset, progress: Progress | None = None, cache: Path | None = None
) -> list[PairStats]:
    """Read every pair of a dataset, in order.

    Args:
        progress: called with the number of pairs done and the total.
        cache: folder of the scan cache, which is keyed by content; None: no cache.

    Raises:
        DataError: every file that cannot be used.
    """
    scan = scan_dataset(dataset, progress, cache)
    check_no_bad_pairs(scan)
    return list(scan.pair_stats)


def scan_dataset(
    dataset: Dataset, progress: Progress | None = None, cache: Path | None = None
) -> DatasetScan:
    """Scan as `scan_dataset_strict`, but list unusable pairs instead of raising an error."""
    cache_path = None if cache is None else scan_cache_path(cache, dataset.name, dataset.data)
    cached = {} if cache_path is None else read_scan_cache(cache_path)
    results: list[PairStats | BadPair] = []
    try:
        with closing(_scan_pairs(dataset, cached)) as result_stream:
            for result in result_stream:
                results.append(result)
                if progress is not None:
                    progress(len(results), len(dataset.pairs))
    finally:  # also after an interrupt, so that the next scan continues
        pair_stats = [result for result in results if isinstance(result, PairStats)]
        if cache_path is not None:
            complete = len(results) == len(dataset.pairs) and dataset.sampled_from is None
            _update_cache(cache_path, cached, pair_stats, complete=complete)
    good = [p for p, r in zip(dataset.pairs, results, strict=True) if isinstance(r, PairStats)]
    bad = tuple(result for result in results if isinstance(result, BadPair))
    return DatasetScan(replace(dataset, pairs=tuple(good)), tuple(pair_stats), bad)


def _update_cache(
    path: Path,
    cached: Mapping[PairHashes, PairStats],
    pair_stats: Sequence[PairStats],
    *,
    complete: bool,
) -> None:
    """Write the cache if a pair was scanned that it does not contain."""
    new = {stats.hashes: stats for stats in pair_stats}
    if new.keys() - cached.keys():
        with suppress(OSError):  # a read-only folder only makes the next scan slower
            # An interrupted scan or one of a sample adds to the old cache; a complete one drops
            # entries of deleted files.
            write_scan_cache(path, (new if complete else {**cached, **new}).values())


def check_no_bad_pairs(scan: DatasetScan) -> None:
    """Raise DataError if any pair cannot be used: a line for each, and advice."""
    if scan.bad_pairs:
        n = len(scan.bad_pairs)
        summary = "1 pair cannot be used; mend it, or leave it out"
        if n > 1:
            summary = f"{count(n, 'pair')} cannot be used; mend them, or leave them out"
        problems = [bad.problem for bad in scan.bad_pairs]
        raise problems_error(problems, remedy=f"{summary} with --skip-bad")


def check_not_empty(scan: DatasetScan) -> None:
    """Raise DataError if no pair is left, which can happen with --skip-bad."""
    if not scan.pair_stats:
        root, n = scan.dataset.root, len(scan.bad_pairs)
        first = f"; the first: {scan.bad_pairs[0].problem}" if scan.bad_pairs else ""
        raise DataError(f"{root}: none of its {count(n, 'pair')} can be used{first}")


def duplicates_among(pair_stats: Sequence[PairStats]) -> list[DuplicatePair]:
    """Pairs of indices of images that show the same: see `find_duplicates`."""
    return find_duplicates(
        [stats.pixels for stats in pair_stats], [stats.thumbnail for stats in pair_stats]
    )


def _scan_pairs(
    dataset: Dataset, cached: dict[PairHashes, PairStats]
) -> Generator[PairStats | BadPair]:
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            # map keeps the order of the pairs; indices of statistics and pairs must agree.
            yield from pool.map(lambda pair: scan_pair(dataset, pair, cached), dataset.pairs)
        finally:
            pool.shutdown(
                cancel_futures=True
            )  # otherwise Ctrl-C would wait for all remaining pairs
