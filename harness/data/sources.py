"""Where images and masks come from: finding a dataset, and pairing its files by stem."""

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.data.known import KNOWN, KVASIR, SYNTHETIC, NeedsDownloadError
from harness.data.pictures import LoadedPair, read_image, read_mask, read_pair
from harness.data.synthetic import generate
from harness.data_config import StudyDataConfig
from harness.errors import DataError, nearest
from harness.paths import Workspace

__all__ = [
    "Dataset",
    "LoadedPair",
    "NeedsDownloadError",
    "Pair",
    "find_data",
    "list_problems",
    "open_folder",
    "read_image",
    "read_mask",
    "read_pair",
]

DATA_VARIABLE = "HARNESS_DATA_DIR"
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Pictures of other kinds must not vanish unseen; other files (notes, boxes) may lie beside.
_UNREADABLE = re.compile(
    r"\.(avif|dcm|dib|exr|gif|heic|heif|jp2|jxl|mha|nii|npy|npz|pbm|pgm|pnm|ppm|svg|tga|gz)"
)
_MOST_LINES = 20

Role = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Pair:
    """An image and its mask, or masks of a multilabel task, in order of class.

    Paths are relative to the dataset's root. `role` and `group` are those that the files declare.
    """

    stem: str
    image: Path
    masks: tuple[Path, ...]
    role: Role | None = None
    group: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A folder of images and masks. `pairs` are in order of stem; files above `max_pixels` fail."""

    name: str
    root: Path
    pairs: tuple[Pair, ...]
    data: StudyDataConfig
    max_pixels: float


def find_data(spec: str, workspace: Workspace) -> Path:
    """The folder that `--data` means: a path, a name below the data folders, a known dataset.

    Data folders are `$HARNESS_DATA_DIR` and the workspace's `data/`. `synthetic` is generated at
    its first use.

    Raises:
        NeedsDownloadError: a known dataset that has to be fetched first.
        DataError: nothing of that name; with the nearest one.
    """
    if not spec.strip():
        raise DataError("--data: is empty; name a folder with images/ and masks/, or a dataset")
    try:
        path = Path(spec).expanduser()
        is_folder, is_file = path.is_dir(), path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"--data {spec!r}: not a usable path: {error}") from None
    if is_folder:
        return path
    if is_file:
        raise DataError(f"--data {spec}: a file; name the folder that holds images/ and masks/")
    folders = _data_folders(workspace)
    if path.name == spec:
        for folder in folders:
            if (folder / spec).is_dir():
                return folder / spec
        if spec == SYNTHETIC:
            return generate(workspace.data / SYNTHETIC)
        if spec == KVASIR.name:
            raise NeedsDownloadError(KVASIR)
    searched = " or ".join(str(folder) for folder in folders)
    hint = nearest(spec, {*KNOWN, *_names_below(folders)})
    raise DataError(f"--data {spec}: neither a folder nor a dataset in {searched}{hint}")


def open_folder(root: Path, data: StudyDataConfig, *, max_pixels: float) -> Dataset:
    """The pairs of `root/images` and `root/masks`, matched by stem. Nothing is decoded.

    Raises:
        DataError: every problem at once: a missing or empty folder, an image without a mask or
            a mask without an image, two files with one stem, folders, unreadable kinds, links
            that leave the folder, names that are no text.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; it should hold images/ and masks/")
    problems: list[str] = []
    images = _files_by_stem(root, "images", problems)
    masks = _files_by_stem(root, "masks", problems)
    if images and masks:
        problems += _unmatched(images, masks)
    if problems:
        raise list_problems(problems, f"{root}: ")
    pairs = tuple(Pair(stem, images[stem], (masks[stem],)) for stem in sorted(images))
    return Dataset(root.resolve().name, root, pairs, data, max_pixels)


def list_problems(problems: Iterable[str], place: str = "") -> DataError:
    """One error of many lines, each beginning with `place`; a long list is cut and counted."""
    lines = [f"{place}{problem}" for problem in problems]
    more = len(lines) - _MOST_LINES
    return DataError(
        "\n".join([*lines[:_MOST_LINES], *([f"... and {more} more"] if more > 0 else [])])
    )


def _files_by_stem(root: Path, part: str, problems: list[str]) -> dict[str, Path]:
    """Relative paths of the images in one folder, by stem in Unicode's composed form."""
    folder = root / part
    if not folder.is_dir():
        problems.append(f"no folder {part}/ in it")
        return {}
    found: dict[str, Path] = {}
    entries = sorted(entry for entry in folder.iterdir() if not _is_clutter(entry))
    n_before = len(problems)
    for entry in entries:
        relative = entry.relative_to(root)
        problem = _problem(entry, root)
        stem = unicodedata.normalize("NFC", entry.stem)
        if problem is not None:
            problems.append(f"{str(relative)!a}: {problem}")
        elif entry.suffix.lower() in SUFFIXES and stem in found:
            problems.append(f"{relative}: has the same stem as {found[stem]}; keep one")
        elif entry.suffix.lower() in SUFFIXES:
            found[stem] = relative
    if not found and len(problems) == n_before:
        problems.append(f"{part}/ holds no image ({' '.join(SUFFIXES)})")
    return found


def _unmatched(images: dict[str, Path], masks: dict[str, Path]) -> list[str]:
    if not images.keys() & masks.keys():
        one, other = next(iter(images.values())), next(iter(masks.values()))
        return [f"no mask has the stem of an image (see {one} and {other}); name both alike"]
    return [
        *(f"{images[stem]}: has no mask of that stem" for stem in images if stem not in masks),
        *(f"{masks[stem]}: has no image of that stem" for stem in masks if stem not in images),
    ]


def _problem(entry: Path, root: Path) -> str | None:
    try:
        entry.name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid text; rename it"
    if not entry.name.isprintable():
        return "its name holds control characters; rename it"
    if entry.is_dir():
        return "a folder; images lie directly in images/, masks in masks/"
    if _UNREADABLE.fullmatch(entry.suffix.lower()):
        return f"of a kind that cannot be read; convert it to one of {' '.join(SUFFIXES)}"
    if entry.suffix.lower() not in SUFFIXES:
        return None
    if not entry.resolve().is_relative_to(root.resolve()):
        return "a link that leaves the folder; put the file itself here"
    return None if entry.is_file() else "not a regular file"


def _is_clutter(entry: Path) -> bool:
    return entry.name.startswith(".") or entry.name in {"Thumbs.db", "desktop.ini", "__MACOSX"}


def _data_folders(workspace: Workspace) -> list[Path]:
    named = os.environ.get(DATA_VARIABLE)
    return [*([Path(named).expanduser()] if named else []), workspace.data]


def _names_below(folders: list[Path]) -> list[str]:
    return [p.parent.name for folder in folders if folder.is_dir() for p in folder.glob("*/images")]
