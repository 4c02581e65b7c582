"""Images whose truth decides nothing: the test role of a split, and further data sets."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness import files
from harness.data.pairs import list_problems
from harness.data.pictures import LoadedPair, read_pair
from harness.data.sources import find_data, open_folder, source_folder, source_name
from harness.data.split_file import SplitRow, inside
from harness.data_config import StudyDataConfig
from harness.errors import ConfigError, DataError
from harness.evaluation.sealed_copies import Said, StudyImages, check_unseen
from harness.evaluation.sealed_ledger import OWN
from harness.paths import STUDY_NAME, Workspace
from harness.search.images import LOOKS

_THREADS = 4


@dataclass(frozen=True)
class Images:
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
            raise list_problems(problems)
        return [result for result in results if not isinstance(result, str)]

    def batches(self, size: int) -> Iterator[tuple[tuple[SplitRow, ...], list[LoadedPair]]]:
        """All rows, so many at a time, decoded."""
        for start in range(0, len(self.rows), size):
            rows = self.rows[start : start + size]
            yield rows, self.read(rows)

    def _read(self, row: SplitRow) -> LoadedPair | str:
        try:
            masks = [inside(self.root, mask) for mask in row.masks]
            pair = read_pair(inside(self.root, row.image), masks, self.data, self.max_pixels)
        except DataError as error:
            return str(error)
        if (pair.image_sha256, pair.mask_sha256) != (row.image_sha256, row.mask_sha256):
            return f"{self.root / row.image}: image or mask has changed since it was entered"
        return pair


def check_present(images: Images) -> None:
    """Check that every file is there, without opening one.

    Raises:
        DataError: every file that is missing.
    """
    names = [name for row in images.rows for name in (row.image, *row.masks)]
    missing = [name for name in names if not inside(images.root, name).is_file()]
    if missing:
        problems = [f"{name}: is missing, but the split names it" for name in missing]
        raise list_problems(problems, f"{images.root}: ")


def check_unchanged(images: Images) -> None:
    """Check that every file is there and has the content that its row names; decodes nothing.

    Raises:
        DataError: every file that is missing or has changed.
    """
    problems = []
    for row in images.rows:
        wanted = ((row.image,), row.image_sha256), (row.masks, row.mask_sha256)
        for names, expected in wanted:
            try:
                if _hash(images.root, names) != expected:
                    problems.append(f"{names[0]}: has changed since the split was made")
            except DataError as error:
                problems.append(str(error))
            except OSError:
                problems.append(f"{names[0]}: is missing, but the split names it")
    if problems:
        raise list_problems(problems, f"{images.root}: ")


def parse_others(asked: Sequence[str]) -> dict[str, str]:
    """`NAME=FOLDER` of the command line, by name.

    Raises:
        ConfigError: no name, an unsafe one, one that is given twice, or no folder.
    """
    found: dict[str, str] = {}
    for text in asked:
        name, equals, folder = text.partition("=")
        if not equals or not folder.strip():
            raise ConfigError(f"--on {text!r}: write NAME=FOLDER, e.g. --on colon=data/colon")
        if name in found:
            raise ConfigError(f"--on {name}: is given twice")
        found[name] = folder
    for name in found:
        check_name(name)
    return found


def check_name(name: str) -> None:
    """Raise ConfigError for the name of a data set that is unsafe, or the study's own."""
    if not STUDY_NAME.fullmatch(name):
        raise ConfigError(
            f"--on {name!r}: a name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or "
            "digit"
        )
    if name == OWN:
        raise ConfigError(
            f"--on {name}: is the name of the study's own test images; choose another"
        )


def other_images(
    name: str,
    folder: str,
    workspace: Workspace,
    split: Sequence[SplitRow],
    data: StudyDataConfig,
    max_pixels: float,
    said: Said | None = None,
) -> Images:
    """A further data set. Its files are hashed, and its images compared with those of the study.

    Args:
        folder: as `--data`: a path, a name below the data folders, or a CSV file.
        split: of the study; no image in it may come again, in whatever form.
        said: called with each warning; see `check_unseen`.

    Raises:
        DataError: no such folder; what is wrong with its files; images of the study among them.
    """
    try:
        source = find_data(folder, workspace)
    except DataError as error:
        raise DataError(f"--on {name}: {str(error).removeprefix('--data ')}") from None
    dataset = open_folder(source, data, max_pixels=max_pixels)
    root = source_folder(source)
    rows = []
    for number, pair in enumerate(dataset.pairs):
        image, masks = pair.image.as_posix(), [mask.as_posix() for mask in pair.masks]
        try:
            hashes = _hash(root, (image,)), _hash(root, masks)
        except OSError as error:
            raise DataError(f"{root / image}: cannot be read: {error.strerror}") from None
        rows.append(SplitRow(number, image, "|".join(masks), "test", image, *hashes))
    check_unseen(name, root, rows, _study_images(split, data, workspace), data, max_pixels, said)
    return Images(name, root, tuple(rows), data, max_pixels)


def _study_images(
    split: Sequence[SplitRow], data: StudyDataConfig, workspace: Workspace
) -> StudyImages:
    rows, looks = tuple(split), workspace.cache / LOOKS
    try:
        source = find_data(data.root, workspace)
    except DataError:
        return StudyImages(rows, None, Path(data.root).stem, looks)
    return StudyImages(rows, source_folder(source), source_name(source), looks)


def _hash(root: Path, names: Sequence[str]) -> str:
    return files.joined_sha256([files.sha256(inside(root, name)) for name in names])
