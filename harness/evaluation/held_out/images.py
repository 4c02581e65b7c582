"""Held-out images: the test role of a split and further data sets (`--on NAME=FOLDER`)."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.config.data import StudyDataConfig
from harness.core.errors import ConfigError, DataError
from harness.core.paths import STUDY_NAME, Workspace
from harness.data.datasets.pairs import problems_error
from harness.data.datasets.sources import (
    find_data,
    open_dataset,
    open_source,
    source_folder,
    source_name,
)
from harness.data.files.image_io import LoadedPair, read_pair
from harness.data.files.source import DataSource, hash_files
from harness.data.scan.scan_cache import SCAN_CACHE_FOLDER
from harness.data.splits.split_file import SplitRow, verify_files
from harness.data.windows.large_pair import LargePair, open_large_pair
from harness.evaluation.held_out.ledger import TEST_SPLIT
from harness.evaluation.held_out.overlap import StudyImages, WarningCallback, check_no_overlap

_MAX_BATCH_BYTES = 32_000_000  # of files that are decoded together; decoded, they are larger
_THREADS = 4  # threads suffice: OpenCV and Pillow release the GIL while they decode


@dataclass(frozen=True)
class EvaluationImages:
    """Images and masks to evaluate on; nothing is opened until `read` or `batches`.

    Attributes:
        name: name in the ledger.
        root: folder that the rows' paths are relative to.
        rows: rows of role test, or val if a threshold is chosen; row numbers are those of
            split.csv, and count from 0 for a further data set.
    """

    name: str
    root: Path
    rows: tuple[SplitRow, ...]
    data: StudyDataConfig
    max_pixels: float

    @property
    def content_hash(self) -> str:
        """SHA-256 over the sorted lines `<hash of the image> <hash of its mask>`.

        Sorted, so that it identifies the content whatever the files are called.
        """
        lines = sorted(f"{row.image_sha256} {row.mask_sha256}\n" for row in self.rows)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def read(self, rows: Sequence[SplitRow]) -> list[LoadedPair]:
        """Decode these rows.

        Raises:
            DataError: lists every file that cannot be used or has changed since it was hashed.
        """
        with ThreadPoolExecutor(_THREADS) as pool:
            results = list(pool.map(self._read, rows))
        problems = [result for result in results if isinstance(result, str)]
        if problems:
            raise problems_error(problems)
        return [result for result in results if not isinstance(result, str)]

    def batches(
        self, size: int
    ) -> Iterator[tuple[tuple[SplitRow, ...], list[LoadedPair] | LargePair]]:
        """Decode all rows in batches of up to `size`; fewer if their files are large.

        A row of a TIFF that is too large to be decoded entirely comes alone, as an open pair that
        is closed when the next batch is asked for.

        Raises:
            DataError: as `read`.
        """
        start, source = 0, open_source(self.root)
        while start < len(self.rows):
            end, n_bytes = start, 0
            while end < min(start + size, len(self.rows)):
                is_large = self._is_large(source, self.rows[end])
                n_bytes += _file_bytes(source, self.rows[end])
                if end > start and (is_large or n_bytes > _MAX_BATCH_BYTES):
                    break
                end += 1
                if is_large:
                    break
            rows, start = self.rows[start:end], end
            with self.open_large(rows[0]) as large:
                yield rows, self.read(rows) if large is None else large

    @contextmanager
    def open_large(self, row: SplitRow) -> Iterator[LargePair | None]:
        """Open a row that is too large to be decoded entirely; None for every other one.

        Raises:
            DataError: the content has changed since it was hashed, or while it was read.
        """
        source = open_source(self.root)
        if not self._is_large(source, row):
            yield None
            return
        names = row.image, row.masks
        with open_large_pair(source, *names, self.data, self.max_pixels) as large:
            assert large is not None, "a file became smaller"
            large.check(row.hashes)
            yield large
            large.check_unchanged()

    def _is_large(self, source: DataSource, row: SplitRow) -> bool:
        try:
            names = row.image, row.masks
            with open_large_pair(source, *names, self.data, self.max_pixels) as large:
                return large is not None
        except DataError:
            return False  # `read` reports it, with all others

    def read_one(self, row: SplitRow) -> LoadedPair:
        """Decode one row. Raises DataError as `read_pair`."""
        source = open_source(self.root)
        return read_pair(source, row.image, row.masks, self.data, self.max_pixels, row.hashes)

    def _read(self, row: SplitRow) -> LoadedPair | str:
        try:
            return self.read_one(row)
        except DataError as error:
            return str(error)


def _file_bytes(source: DataSource, row: SplitRow) -> int:
    try:
        return source.size(row.image)
    except (OSError, DataError):
        return 0  # `read` reports it, with all others


def check_images_present(images: EvaluationImages) -> None:
    """Check that every file exists, without opening any.

    Raises:
        DataError: lists every missing file.
    """
    source, problems = open_source(images.root), []
    for name in (name for row in images.rows for name in (row.image, *row.masks)):
        try:
            # The size only: no image of the test split may be opened before the ledger records it.
            source.size(name)
        except OSError:
            problems.append(f"{name}: missing, but the split contains it")
    if problems:
        raise problems_error(problems, f"{images.root}: ")


def check_images_unchanged(images: EvaluationImages) -> None:
    """Check that every file exists and has the hash in its row; decodes nothing.

    Raises:
        DataError: lists every file that is missing or has changed.
    """
    verify_files(images.rows, open_source(images.root))


def parse_external_datasets(options: Sequence[str]) -> dict[str, str]:
    """Parse `NAME=FOLDER` options into folders by name.

    Raises:
        ConfigError: a missing, unsafe or repeated name, or a missing folder.
    """
    folders: dict[str, str] = {}
    for text in options:
        # At the first "=": the folder may contain further ones.
        name, equals, folder = text.partition("=")
        if not equals or not folder.strip():
            raise ConfigError(f"--on {text!r}: write NAME=FOLDER, e.g. --on colon=data/colon")
        if name in folders:
            raise ConfigError(f"--on {name}: this name is given twice; use each name once")
        folders[name] = folder
    for name in folders:  # names become MLflow keys and ledger entries
        check_dataset_name(name)
    return folders


def check_dataset_name(name: str) -> None:
    """Raise ConfigError if the name of a data set is unsafe or reserved for the test split."""
    if not STUDY_NAME.fullmatch(name):
        raise ConfigError(
            f"--on {name!r}: invalid name; use 1 to 64 of the characters A-Z a-z 0-9 . _ - and "
            "begin with a letter or digit"
        )
    if name == TEST_SPLIT:
        raise ConfigError(
            f"--on {name}: this name is reserved for the study's own test images; choose another"
        )


def load_external_images(
    name: str,
    folder: str,
    workspace: Workspace,
    split: Sequence[SplitRow],
    data: StudyDataConfig,
    max_pixels: float,
    on_warning: WarningCallback | None = None,
) -> EvaluationImages:
    """Load a further data set, hash its files and compare its images with those of the study.

    Args:
        folder: as for `--data`: a path, a name below the data folders, or a CSV file.
        split: the study's split; the data set must not contain any of its images in any form.
        on_warning: called with each warning; see `overlap.check_no_overlap`.

    Raises:
        DataError: the folder does not exist, its files are invalid, or it contains images of the
            study.
    """
    try:
        source = find_data(folder, workspace)
    except DataError as error:
        raise DataError(f"--on {name}: {str(error).removeprefix('--data ')}") from None
    dataset = open_dataset(source, data, max_pixels=max_pixels)
    root = source_folder(source)
    rows = []
    for number, pair in enumerate(dataset.pairs):
        image, masks = pair.image.as_posix(), [mask.as_posix() for mask in pair.masks]
        try:
            hashes = hash_files(dataset.source, (image,)), hash_files(dataset.source, masks)
        except OSError as error:
            raise DataError(f"{root / image}: cannot be read: {error.strerror}") from None
        rows.append(SplitRow(number, image, "|".join(masks), "test", image, *hashes))
    check_no_overlap(
        name, root, rows, _study_images(split, data, workspace), data, max_pixels, on_warning
    )
    return EvaluationImages(name, root, tuple(rows), data, max_pixels)


def _study_images(
    split: Sequence[SplitRow], data: StudyDataConfig, workspace: Workspace
) -> StudyImages:
    rows, scan_cache = tuple(split), workspace.cache / SCAN_CACHE_FOLDER
    try:
        source = find_data(data.root, workspace)
    # The data may be gone by now; the fingerprints in the scan cache then stand for the images.
    except DataError:
        return StudyImages(rows, None, Path(data.root).stem, scan_cache)
    return StudyImages(rows, source_folder(source), source_name(source), scan_cache)
