"""Where images and masks come from: finding a dataset, and opening it."""

import os
from pathlib import Path

from harness.data.csv_source import read_csv_pairs
from harness.data.known import KNOWN, KVASIR, SYNTHETIC, NeedsDownloadError
from harness.data.layouts import read_layout
from harness.data.pairs import Dataset, Pair, Role, list_problems
from harness.data.pictures import LoadedPair, read_image, read_mask, read_pair
from harness.data.synthetic import generate
from harness.data_config import StudyDataConfig
from harness.errors import DataError, nearest
from harness.paths import Workspace, user_path

__all__ = [
    "Dataset",
    "LoadedPair",
    "NeedsDownloadError",
    "Pair",
    "Role",
    "find_data",
    "list_problems",
    "open_folder",
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
            return generate(workspace.data / SYNTHETIC)
        if spec == KVASIR.name:
            raise NeedsDownloadError(KVASIR)
    searched = " or ".join(str(folder) for folder in folders)
    hint = nearest(spec, {*KNOWN, *_names_below([*folders, Path()])})
    if path.name != spec and (alike := nearest(path.name, _names_below([path.parent]), most=0)):
        hint = alike.replace("mean ", f"mean {path.parent.as_posix().rstrip('/')}/")
    raise DataError(f"--data {spec}: neither a folder nor a dataset in {searched}{hint}")


def source_folder(source: Path) -> Path:
    """The folder that a split's paths are relative to, for what `find_data` found."""
    return source if source.is_dir() else source.parent


def source_name(source: Path) -> str:
    """The name of a data set: its folder's, or its CSV file's without the ending."""
    return source.resolve().name if source.is_dir() else source.stem


def open_folder(root: Path, data: StudyDataConfig, *, max_pixels: float) -> Dataset:
    """The pairs of a folder in any layout that is understood, or of a CSV file.

    Nothing is decoded. The dataset's root is the folder, or the one that the CSV file lies in.

    Raises:
        DataError: every problem at once: no layout, a missing or empty folder, an image without
            a mask or a mask without an image, two files with one stem, folders, unreadable
            kinds, links that leave the folder, names that are no text.
    """
    if root.is_dir():
        pairs, unread = read_layout(root, data)
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
    named = os.environ.get(DATA_VARIABLE)
    return [*([user_path(named)] if named else []), workspace.data]


def _names_below(folders: list[Path]) -> list[str]:
    here = [folder for folder in folders if folder.is_dir()]
    parts = ("*/[Ii]mages", "*/[Tt]rain/[Ii]mages")
    names = [
        p.parents[part.count("/") - 1].name for f in here for part in parts for p in f.glob(part)
    ]
    return [*names, *(p.name for folder in here for p in folder.glob("*.csv"))]
