"""Find images of a further data set that the study already has: same file, pixels or picture."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.core.union_find import DisjointSet
from harness.data.datasets.pairs import problems_error
from harness.data.datasets.sources import open_source
from harness.data.scan.near_duplicates import DuplicatePair, find_duplicates
from harness.data.scan.pair_scan import ImageFingerprint, fingerprint_image
from harness.data.scan.scan_cache import read_scan_cache, scan_cache_path
from harness.data.splits.split_file import SplitRow

_THREADS: Final = 4
_MAX_LISTED: Final = 5
_MATCH_TEXT: Final = {"exact": "equal pixels", "near": "the same picture in another form"}

WarningCallback = Callable[[str], None]


@dataclass(frozen=True)
class StudyImages:
    """Images of a study that a further data set is compared with.

    Attributes:
        rows: rows of `split.csv`.
        root: folder that the rows' paths are relative to; None if it no longer exists.
        name: name of the data set, the key of its scan cache.
        scan_cache: folder of the scan cache.
    """

    rows: tuple[SplitRow, ...]
    root: Path | None
    name: str
    scan_cache: Path


def check_no_overlap(
    name: str,
    root: Path,
    rows: Sequence[SplitRow],
    study: StudyImages,
    data: StudyDataConfig,
    max_pixels: float,
    on_warning: WarningCallback | None = None,
) -> None:
    """Check that no image of a further data set belongs to the study in any form.

    Detects equal files, equal pixels, and the near copies that a split detects: re-encoded,
    resized, mirrored, or rotated by right angles. Masks are not opened.

    Args:
        name: name of the further data set.
        on_warning: called with one line per warning: duplicates within the data set, or images of
            the study that could not be compared.

    Raises:
        DataError: the data set contains images of the study; an image cannot be read; or images of
            train or val are missing, so that the comparison is impossible.
    """
    study_prints = _study_fingerprints(name, study, data, max_pixels, on_warning)
    external_prints = _external_fingerprints(root, rows, data, max_pixels)
    study_rows = list(study_prints)
    fingerprints = [*study_prints.values(), *external_prints]
    copies = find_duplicates(
        [entry.pixels for entry in fingerprints], [entry.thumbnail for entry in fingerprints]
    )
    n_study = len(study_rows)
    exact = {copy.second for copy in copies if copy.kind == "exact" and copy.first < n_study}
    # reversed: among equal files the first row of split.csv wins, as the error names it
    same_file = {row.image_sha256: row for row in reversed(study.rows)}
    matches: dict[int, str] = {}
    # Pairs are chained: a copy of a copy counts as a copy, as in the groups of a split.
    groups = DisjointSet(len(fingerprints))
    for copy in copies:
        groups.union(copy.first, copy.second)
    for index, row in enumerate(rows):
        # The leader is the lowest index of the group, and the study's images come first: a leader
        # below n_study means that the group contains an image of the study.
        leader = groups.find(n_study + index)
        if row.image_sha256 in same_file:
            matches[index] = _describe_match(row, same_file[row.image_sha256], "the same file")
        elif leader < n_study:
            match_text = _MATCH_TEXT["exact" if n_study + index in exact else "near"]
            matches[index] = _describe_match(row, study_rows[leader], match_text)
    if matches:
        raise DataError(
            f"--on {name}: {len(matches)} of its {len(rows)} images are in the study's split.csv: "
            f"{_join_limited(list(matches.values()))}; leave them out"
        )
    if on_warning is not None:
        _warn_of_duplicates(name, rows, copies, n_study, on_warning)


def _external_fingerprints(
    root: Path, rows: Sequence[SplitRow], data: StudyDataConfig, max_pixels: float
) -> list[ImageFingerprint]:
    results = _compute_fingerprints(root, rows, data, max_pixels)
    problems = [result for result in results if isinstance(result, str)]
    if problems:
        raise problems_error(problems)
    return [result for result in results if not isinstance(result, str)]


def _study_fingerprints(
    name: str,
    study: StudyImages,
    data: StudyDataConfig,
    max_pixels: float,
    on_warning: WarningCallback | None,
) -> dict[SplitRow, ImageFingerprint]:
    """Fingerprints of the study's images, from the scan cache or by decoding them."""
    fingerprints = {
        image: ImageFingerprint(image, facts.pixels, facts.thumbnail)
        for (image, _), facts in read_scan_cache(
            scan_cache_path(study.scan_cache, study.name, data)
        ).items()
    }
    missing = [row for row in study.rows if row.image_sha256 not in fingerprints]
    if study.root is not None and missing:
        # Only images that the cache lacks are decoded, those of the test split included: their
        # pixels are compared with the further data set, and nothing is predicted on them.
        results = _compute_fingerprints(study.root, missing, data, max_pixels)
        fingerprints |= {
            result.image_sha256: result
            for result in results
            if isinstance(result, ImageFingerprint)
        }
    # Missing test images only warn: their file hashes are compared anyway. Train and val images
    # must be compared in full, as the weights were trained or selected on them.
    unmatched_rows = [row for row in missing if row.image_sha256 not in fingerprints]
    missing_train_val = [row.image for row in unmatched_rows if row.role != "test"]
    if missing_train_val:
        raise DataError(
            f"--on {name}: cannot be compared with {len(missing_train_val)} of the "
            f"{len(study.rows)} images of the study, the first {missing_train_val[0]!r}: missing "
            f"from {study.root or 'the data folders'} or changed; restore the study's data"
        )
    if unmatched_rows and on_warning is not None:
        on_warning(
            f"warning: --on {name}: compared by file hash only with {len(unmatched_rows)} of the "
            f"{len(study.rows)} images of the study (test images that are missing or changed)"
        )
    return {
        row: fingerprints[row.image_sha256]
        for row in study.rows
        if row.image_sha256 in fingerprints
    }


def _compute_fingerprints(
    root: Path, rows: Sequence[SplitRow], data: StudyDataConfig, max_pixels: float
) -> list[ImageFingerprint | str]:
    source = open_source(root)

    def fingerprint_row(row: SplitRow) -> ImageFingerprint | str:
        try:
            return fingerprint_image(source, row.image, data, max_pixels)
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(fingerprint_row, rows))


def _describe_match(row: SplitRow, study_row: SplitRow, match_text: str) -> str:
    return f"{row.image!a} as {study_row.role} ({study_row.image!a}, {match_text})"


def _join_limited(texts: Sequence[str]) -> str:
    n_hidden = len(texts) - _MAX_LISTED
    return ", ".join(texts[:_MAX_LISTED]) + (f", and {n_hidden} more" if n_hidden > 0 else "")


def _warn_of_duplicates(
    name: str,
    rows: Sequence[SplitRow],
    copies: Sequence[DuplicatePair],
    n_study: int,
    on_warning: WarningCallback,
) -> None:
    """Warn of duplicates within the data set: each copy counts in every mean."""
    texts = [
        f"{rows[copy.first - n_study].image!a} = {rows[copy.second - n_study].image!a} "
        f"({_MATCH_TEXT[copy.kind]})"
        for copy in copies
        if copy.first >= n_study
    ]
    if texts:
        summary = f"contains copies ({len(texts)} of {len(rows)} images), each of which counts"
        on_warning(f"warning: --on {name}: {summary}: {_join_limited(texts)}")
