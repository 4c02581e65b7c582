"""Find the dataset that `--data` names and list its pairs."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError, suggest_nearest
from harness.core.paths import Workspace, expand_user_path
from harness.data.datasets.csv_source import read_csv_pairs
from harness.data.datasets.layouts import read_folder_layout
from harness.data.datasets.pairs import Dataset, ImageMaskPair, Role, problems_error
from harness.data.datasets.synthetic import generate_dataset
from harness.data.files.image_io import LoadedPair, read_image, read_mask, read_pair
from harness.data.files.source import DataSource, FolderSource

__all__ = [
    "Dataset",
    "ImageMaskPair",
    "LoadedPair",
    "NeedsDownloadError",
    "Role",
    "find_archive",
    "find_data",
    "locate_data",
    "open_dataset",
    "open_source",
    "problems_error",
    "read_image",
    "read_mask",
    "read_pair",
    "source_folder",
    "source_name",
]

DATA_VARIABLE = "HARNESS_DATA_DIR"


@dataclass(frozen=True)
class DatasetArchive:
    """Address, size, checksum and terms of use of a published dataset.

    Attributes:
        citation: publication to cite, as its terms require.
    """

    name: str
    url: str
    n_bytes: int
    sha256: str
    page: str
    terms: str
    citation: str


KVASIR: Final = DatasetArchive(
    name="kvasir-seg",
    url="https://datasets.simula.no/downloads/kvasir-seg.zip",
    n_bytes=46_200_000,  # as stated on its page; only the checksum is verified
    sha256="03b30e21d584e04facf49397a2576738fd626815771afbbf788f74a7153478f7",
    page="https://datasets.simula.no/kvasir-seg/",
    terms="research and education only; cite Jha et al., Kvasir-SEG, MMM 2020",
    citation="Jha et al. 2020. Kvasir-SEG: A Segmented Polyp Dataset. MMM. arXiv:1911.07069",
)
SYNTHETIC: Final = "synthetic"
KNOWN_DATASETS: Final = (KVASIR.name, SYNTHETIC)


class NeedsDownloadError(DataError):
    """A known dataset is not downloaded yet; `archive` describes the download."""

    def __init__(self, archive: DatasetArchive) -> None:
        self.archive = archive
        super().__init__(
            f"{archive.name}: not here yet. It can be downloaded from {archive.url} "
            f"({archive.n_bytes / 1e6:.1f} MB; {archive.terms}): "
            f"harness data download {archive.name}"
        )


def find_data(spec: str, workspace: Workspace) -> Path:
    """Find the folder or CSV file that `--data` names; `synthetic` is generated at its first use.

    Raises:
        NeedsDownloadError, DataError: as `locate_data`.
    """
    location = locate_data(spec, workspace)
    if location is not None:
        return location
    # Images from which a small network learns in seconds; 20 of them validate.
    return generate_dataset(workspace.data / SYNTHETIC, count=200, difficulty=0)


def locate_data(spec: str, workspace: Workspace) -> Path | None:
    """Find the folder or CSV file that `--data` names, without writing anything.

    The value is a path, a name below the data folders, or a known dataset. Data folders are
    `$HARNESS_DATA_DIR` and the workspace's `data/`.

    Returns:
        None for `synthetic` where it has not been generated yet.

    Raises:
        NeedsDownloadError: a known dataset that must be downloaded first.
        DataError: nothing has that name; the message suggests the nearest one.
    """
    if not spec.strip():
        raise DataError("--data: is empty; name a folder with images/ and masks/, or a dataset")
    try:
        path = Path(spec).expanduser()
        is_source, is_file = _is_source(path), path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"--data {spec!r}: not a usable path: {error}") from None
    if is_source:
        return path
    if is_file:
        raise DataError(
            f"--data {spec}: a file; name the folder that holds images/ and masks/, or a CSV file"
        )
    folders = _data_folders(workspace)
    if path.name == spec:
        for folder in folders:
            if _is_source(folder / spec):
                return folder / spec
        if spec == SYNTHETIC:
            return None
        if spec == KVASIR.name:
            raise NeedsDownloadError(KVASIR)
    searched = " or ".join(str(folder) for folder in folders)
    hint = suggest_nearest(spec, {*KNOWN_DATASETS, *_dataset_names([*folders, Path()])})
    if path.name != spec and (
        suggestion := suggest_nearest(path.name, _dataset_names([path.parent]), max_listed=0)
    ):
        hint = suggestion.replace("mean ", f"mean {path.parent.as_posix().rstrip('/')}/")
    raise DataError(f"--data {spec}: neither a folder nor a dataset in {searched}{hint}")


def find_archive(root: str) -> DatasetArchive | None:
    """The published dataset that a study's `data.root` names; None for any other data.

    The study records the folder as the user typed it, so with the separator of their system.
    """
    name = re.split(r"[/\\]", root.rstrip("/\\"))[-1]
    return KVASIR if name == KVASIR.name else None


def source_folder(location: Path) -> Path:
    """The folder that a split's paths are relative to, of what `find_data` returns."""
    return location.parent if _is_csv(location) else location


def source_name(location: Path) -> str:
    """The name of a dataset: that of its folder, or of its CSV file without the suffix."""
    return location.stem if _is_csv(location) else location.resolve().name


def open_source(location: Path) -> DataSource:
    """Open the files of what `find_data` returns, or of its `source_folder`.

    Worker processes receive the location and open it themselves: a source of another kind needs a
    location from which every process can open it.
    """
    return FolderSource(source_folder(location))


def open_dataset(location: Path, data: StudyDataConfig, *, max_pixels: float) -> Dataset:
    """List the pairs of a local folder in any supported layout, or of a local CSV file.

    Nothing is decoded. The dataset's source is the folder, or the folder of the CSV file.

    Raises:
        DataError: all problems together: no layout, a missing or empty folder, an image without
            a mask or a mask without an image, two files with one stem, nested folders, unreadable
            formats, links that leave the folder, names that are not valid text.
    """
    if location.is_dir():
        pairs, unread = read_folder_layout(location, data)
    elif _is_csv(location):
        pairs, unread = read_csv_pairs(location, data), []
    else:
        raise DataError(f"{location}: no such folder; it should hold images/ and masks/")
    # The order of a directory differs between file systems; every index and seed builds on this
    # one.
    pairs.sort(key=lambda pair: (pair.stem, pair.image.as_posix()))
    return Dataset(
        source_name(location), open_source(location), tuple(pairs), data, max_pixels, tuple(unread)
    )


def _is_source(path: Path) -> bool:
    return path.is_dir() or _is_csv(path)


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and path.is_file()


def _data_folders(workspace: Workspace) -> list[Path]:
    variable = os.environ.get(DATA_VARIABLE)
    return [*([expand_user_path(variable)] if variable else []), workspace.data]


def _dataset_names(folders: list[Path]) -> list[str]:
    existing = [folder for folder in folders if folder.is_dir()]
    parts = ("*/[Ii]mages", "*/[Tt]rain/[Ii]mages")
    names = [
        p.parents[part.count("/") - 1].name
        for f in existing
        for part in parts
        for p in f.glob(part)
    ]
    return [*names, *(p.name for folder in existing for p in folder.glob("*.csv"))]
