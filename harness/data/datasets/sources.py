"""Where images and masks come from: finding a dataset, and opening it."""

import os
from pathlib import Path

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError, suggest_nearest
from harness.core.paths import Workspace, expand_user_path
from harness.data.datasets.csv_source import read_csv_pairs
from harness.data.datasets.known_datasets import (
    KNOWN_DATASETS,
    KVASIR,
    SYNTHETIC,
    NeedsDownloadError,
)
from harness.data.datasets.layouts import read_folder_layout
from harness.data.datasets.pairs import Dataset, ImageMaskPair, Role, problems_error
from harness.data.datasets.synthetic import generate_dataset
from harness.data.files.image_io import LoadedPair, read_image, read_mask, read_pair

__all__ = [
    "Dataset",
    "ImageMaskPair",
    "LoadedPair",
    "NeedsDownloadError",
    "Role",
    "find_data",
    "open_dataset",
    "problems_error",
    "read_image",
    "read_mask",
    "read_pair",
    "source_folder",
    "source_name",
]

DATA_VARIABLE = "HARNESS_DATA_DIR"


def find_data(spec: str, workspace: Workspace) -> Path:
    """The folder, or the CSV file, that `--data` means.

    It is a path, a name below the data folders, or a known dataset. Data folders are
    `$HARNESS_DATA_DIR` and the workspace's `data/`. `synthetic` is generated at its first use.

    Raises:
        NeedsDownloadError: a known dataset that has to be fetched first.
        DataError: nothing of that name; with the nearest one.
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
            return generate_dataset(workspace.data / SYNTHETIC)
        if spec == KVASIR.name:
            raise NeedsDownloadError(KVASIR)
    searched = " or ".join(str(folder) for folder in folders)
    hint = suggest_nearest(spec, {*KNOWN_DATASETS, *_dataset_names([*folders, Path()])})
    if path.name != spec and (
        suggestion := suggest_nearest(path.name, _dataset_names([path.parent]), max_listed=0)
    ):
        hint = suggestion.replace("mean ", f"mean {path.parent.as_posix().rstrip('/')}/")
    raise DataError(f"--data {spec}: neither a folder nor a dataset in {searched}{hint}")


def source_folder(source: Path) -> Path:
    """The folder that a split's paths are relative to, for what `find_data` found."""
    return source if source.is_dir() else source.parent


def source_name(source: Path) -> str:
    """The name of a data set: its folder's, or its CSV file's without the ending."""
    return source.resolve().name if source.is_dir() else source.stem


def open_dataset(root: Path, data: StudyDataConfig, *, max_pixels: float) -> Dataset:
    """The pairs of a folder in any layout that is understood, or of a CSV file.

    Nothing is decoded. The dataset's root is the folder, or the one that the CSV file lies in.

    Raises:
        DataError: every problem at once: no layout, a missing or empty folder, an image without
            a mask or a mask without an image, two files with one stem, folders, unreadable
            kinds, links that leave the folder, names that are no text.
    """
    if root.is_dir():
        pairs, unread = read_folder_layout(root, data)
    elif _is_source(root):
        pairs, unread = read_csv_pairs(root, data), []
    else:
        raise DataError(f"{root}: no such folder; it should hold images/ and masks/")
    pairs.sort(key=lambda pair: (pair.stem, pair.image.as_posix()))
    return Dataset(
        source_name(root), source_folder(root), tuple(pairs), data, max_pixels, tuple(unread)
    )


def _is_source(path: Path) -> bool:
    return path.is_dir() or (path.suffix.lower() == ".csv" and path.is_file())


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
