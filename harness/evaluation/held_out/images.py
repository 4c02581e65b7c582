"""Images whose truth decides nothing: the test role of a split, and further data sets."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.config.data import StudyDataConfig
from harness.core import files
from harness.core.errors import ConfigError, DataError
from harness.core.paths import STUDY_NAME, Workspace
from harness.data.datasets.pairs import problems_error
from harness.data.datasets.sources import find_data, open_dataset, source_folder, source_name
from harness.data.files.image_io import LoadedPair, read_pair
from harness.data.splits.split_file import SplitRow, resolve_in_root
from harness.evaluation.held_out.ledger import TEST_SPLIT
from harness.evaluation.held_out.overlap import StudyImages, WarningCallback, check_no_overlap
from harness.search.definition.data_setup import SCAN_CACHE_FOLDER

_THREADS = 4


@dataclass(frozen=True)
class EvaluationImages:
    """Images and masks that are not opened yet.

    Attributes:
        name: what the ledger calls them.
        root: the folder that the rows' paths are relative to.
        rows: role test (or val, where a threshold is chosen); row numbers are of split.csv, or
            count from 0.
    """

    name: str
    root: Path
    rows: tuple[SplitRow, ...]
    data: StudyDataConfig
    max_pixels: float

    @property
    def content_hash(self) -> str:
        """SHA-256 over the sorted lines `<hash of the image> <hash of its mask>`."""
        lines = sorted(f"{row.image_sha256} {row.mask_sha256}\n" for row in self.rows)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def read(self, rows: Sequence[SplitRow]) -> list[LoadedPair]:
        """Decode these rows.

        Raises:
            DataError: every file that cannot be used, or is another than was hashed.
        """
        with ThreadPoolExecutor(_THREADS) as pool:
            results = list(pool.map(self._read, rows))
        problems = [result for result in results if isinstance(result, str)]
        if problems:
            raise problems_error(problems)
        return [result for result in results if not isinstance(result, str)]

    def batches(self, size: int) -> Iterator[tuple[tuple[SplitRow, ...], list[LoadedPair]]]:
        """All rows, so many at a time, decoded."""
        for start in range(0, len(self.rows), size):
            rows = self.rows[start : start + size]
            yield rows, self.read(rows)

    def _read(self, row: SplitRow) -> LoadedPair | str:
        try:
            masks = [resolve_in_root(self.root, mask) for mask in row.masks]
            pair = read_pair(
                resolve_in_root(self.root, row.image), masks, self.data, self.max_pixels
            )
        except DataError as error:
            return str(error)
        if (pair.image_sha256, pair.mask_sha256) != (row.image_sha256, row.mask_sha256):
            return f"{self.root / row.image}: image or mask has changed since it was entered"
        return pair


def check_images_present(images: EvaluationImages) -> None:
    """Check that every file is there, without opening one.

    Raises:
        DataError: every file that is missing.
    """
    names = [name for row in images.rows for name in (row.image, *row.masks)]
    missing = [name for name in names if not resolve_in_root(images.root, name).is_file()]
    if missing:
        problems = [f"{name}: is missing, but the split names it" for name in missing]
        raise problems_error(problems, f"{images.root}: ")


def check_images_unchanged(images: EvaluationImages) -> None:
    """Check that every file is there and has the content that its row names; decodes nothing.

    Raises:
        DataError: every file that is missing or has changed.
    """
    problems = []
    for row in images.rows:
        expected_hashes = ((row.image,), row.image_sha256), (row.masks, row.mask_sha256)
        for names, expected in expected_hashes:
            try:
                if _hash_files(images.root, names) != expected:
                    problems.append(f"{names[0]}: has changed since the split was made")
            except DataError as error:
                problems.append(str(error))
            except OSError:
                problems.append(f"{names[0]}: is missing, but the split names it")
    if problems:
        raise problems_error(problems, f"{images.root}: ")


def parse_external_datasets(options: Sequence[str]) -> dict[str, str]:
    """`NAME=FOLDER` of the command line, by name.

    Raises:
        ConfigError: no name, an unsafe one, one that is given twice, or no folder.
    """
    folders: dict[str, str] = {}
    for text in options:
        name, equals, folder = text.partition("=")
        if not equals or not folder.strip():
            raise ConfigError(f"--on {text!r}: write NAME=FOLDER, e.g. --on colon=data/colon")
        if name in folders:
            raise ConfigError(f"--on {name}: is given twice")
        folders[name] = folder
    for name in folders:
        check_dataset_name(name)
    return folders


def check_dataset_name(name: str) -> None:
    """Raise ConfigError for the name of a data set that is unsafe, or the study's own."""
    if not STUDY_NAME.fullmatch(name):
        raise ConfigError(
            f"--on {name!r}: a name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or "
            "digit"
        )
    if name == TEST_SPLIT:
        raise ConfigError(
            f"--on {name}: is the name of the study's own test images; choose another"
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
    """A further data set. Its files are hashed, and its images compared with those of the study.

    Args:
        folder: as `--data`: a path, a name below the data folders, or a CSV file.
        split: of the study; no image in it may come again, in whatever form.
        on_warning: called with each warning; see `check_no_overlap`.

    Raises:
        DataError: no such folder; what is wrong with its files; images of the study among them.
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
            hashes = _hash_files(root, (image,)), _hash_files(root, masks)
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
    except DataError:
        return StudyImages(rows, None, Path(data.root).stem, scan_cache)
    return StudyImages(rows, source_folder(source), source_name(source), scan_cache)


def _hash_files(root: Path, names: Sequence[str]) -> str:
    return files.combine_sha256([files.file_sha256(resolve_in_root(root, name)) for name in names])
