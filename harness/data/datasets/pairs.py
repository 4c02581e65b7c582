"""Pairs of an image and its masks, datasets of them, and the rules for usable files and paths."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Final, Literal

import numpy as np

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.data.files.headers import is_image_start
from harness.data.files.source import DataSource

Role = Literal["train", "val", "test"]

ROLES: Final[tuple[Role, ...]] = ("train", "val", "test")
ROLE_NAMES: Final[Mapping[str, Role]] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
# .jfif and .jpe are other names of JPEG: Windows and browsers save them.
SUFFIXES = (".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Images of other formats must not be skipped silently; other files (notes, boxes) are ignored.
UNREADABLE_SUFFIX = re.compile(
    r"\.(avif|dcm|dib|exr|gif|heic|heif|jp2|jxl|mha|nii|npy|npz|pbm|pgm|pnm|ppm|svg|tga|gz)"
)
_MASK_STEM = re.compile(r"(.+)[_-](?:mask|label|gt|seg|segmentation)", re.IGNORECASE)
_MAX_LINES = 20
SAMPLE_SEED: Final = 0
_CLUTTER: Final = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "@recycle", "#recycle"),
    *("$recycle.bin", "system volume information", "lost+found"),
}


@dataclass(frozen=True)
class ImageMaskPair:
    """An image and its mask, or masks of a multilabel task, in order of class.

    Paths are relative to the dataset's root. `role` and `group` are declared by folders, lists or a
    CSV file; `columns` are the further columns of a CSV file.
    """

    stem: str
    image: Path
    masks: tuple[Path, ...]
    role: Role | None = None
    group: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Dataset:
    """Pairs of images and masks, in order of stem, and the source to read them from.

    Attributes:
        max_pixels: Larger images are refused.
        unread: Further files that hold images but have another suffix, relative to the root.
        sampled_from: Number of pairs that these are a random sample of; None: all pairs.
    """

    name: str
    source: DataSource
    pairs: tuple[ImageMaskPair, ...]
    data: StudyDataConfig
    max_pixels: float
    unread: tuple[Path, ...] = ()
    sampled_from: int | None = None

    @property
    def root(self) -> PurePath:
        """The start of every path in messages."""
        return self.source.root


def sample_pairs(dataset: Dataset, n: int, seed: int = SAMPLE_SEED) -> Dataset:
    """Reduce a dataset to `n` random pairs, in their order; unchanged if it has no more."""
    n_pairs = len(dataset.pairs)
    if n >= n_pairs:
        return dataset
    chosen = np.random.default_rng(seed).choice(n_pairs, n, replace=False)
    pairs = tuple(dataset.pairs[index] for index in sorted(chosen.tolist()))
    return replace(dataset, pairs=pairs, sampled_from=n_pairs)


def problems_error(
    problems: Iterable[str], prefix: str = "", *, remedy: str | None = None
) -> DataError:
    """Build one error with a line for each problem, after `prefix`; a long list is cut and counted.

    Args:
        remedy: last line, with the advice for all of them.
    """
    lines = [f"{prefix}{problem}" for problem in problems]
    more = len(lines) - _MAX_LINES
    omitted = [f"... and {more} more"] if more > 0 else []
    last = [] if remedy is None else [remedy]
    return DataError("\n".join([*lines[:_MAX_LINES], *omitted, *last]))


def file_problem(entry: Path, root: Path) -> str | None:
    """Reason why a file or folder below `root` cannot be an image or mask; None if it can.

    A file that is not an image is not a problem here: notes may be stored next to images.
    """
    try:
        entry.name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid text; rename it"
    if not entry.name.isprintable():
        return "its name holds control characters; rename it"
    if entry.is_dir():
        return "a folder; images must be directly in images/, masks in masks/"
    if UNREADABLE_SUFFIX.fullmatch(entry.suffix.lower()):
        return f"of a kind that cannot be read; convert it to one of {' '.join(SUFFIXES)}"
    if entry.suffix.lower() not in SUFFIXES:
        return None
    if not is_safe_path(entry.relative_to(root).as_posix()):
        return r"its name holds \ : or |, or begins with = + - @; rename it"
    if link_problem := _link_problem(entry, root):
        return link_problem
    return None if entry.is_file() else "not a regular file"


def _link_problem(entry: Path, root: Path) -> str | None:
    try:
        # A link out of the folder could not be moved with the data, and could name any file.
        leaves = not entry.resolve().is_relative_to(root.resolve())
        is_lost = entry.is_symlink() and not entry.exists()
    except (OSError, RuntimeError):  # Python before 3.13 raises the latter for links in a loop
        leaves, is_lost = False, True
    if leaves:
        return "a link that leaves the folder; put the file itself here"
    return "a link that leads nowhere; put the file itself here" if is_lost else None


def list_entries(folder: Path) -> list[Path]:
    """Entries of a folder by name, without hidden files and those of operating systems and NAS."""
    return sorted(entry for entry in folder.iterdir() if not _is_clutter(entry))


def _is_clutter(entry: Path) -> bool:
    return entry.name.startswith(".") or entry.name.casefold() in _CLUTTER


def is_image_by_content(entry: Path) -> bool:
    """True if a file's first bytes are those of an image, whatever its name."""
    try:
        if not entry.is_file():  # opening a named pipe would block until a process writes
            return False
        with entry.open("rb") as handle:
            return is_image_start(handle.read(16))
    except OSError:
        return False


def is_safe_path(path: str) -> bool:
    """True if a text is a relative path that split.csv can hold and every system can read."""
    return unsafe_reason(path) is None


def unsafe_reason(path: str) -> str | None:
    """Reason and remedy if a text is not a path that split.csv can hold; None if it is.

    In split.csv a bar separates masks, and a spreadsheet reads = + - @ as the start of a formula.
    """
    if not path.strip():
        return "is empty"
    if not path.isprintable():
        return "holds control characters; rename the file"
    if "\\" in path:
        return r"holds \; write / between folders"
    for mark in ":|":
        if mark in path:
            return f"holds {mark}; rename the file"
    if path[0] == "/":
        return "is absolute; write it relative to the folder of the list"
    if path[0] in "=+-@":
        return (
            f"begins with {path[0]}, which a spreadsheet takes for a formula; rename the file, or "
            "put it into a folder"
        )
    if ".." in PurePosixPath(path).parts:
        return "holds ..; put the file below the folder of the list"
    return None if PurePosixPath(path).parts else "is empty"


SUPPORTED_LAYOUTS: Final = """
  images/ and masks/, with one stem for an image and its mask
  images/ and masks/<class>/ for each class (multilabel)
  train/, val/ (or valid/, validation/) and test/, each with images/ and masks/
  one folder of pairs such as x.jpg and x_mask.png (or _label, _gt, _seg, with _ or -)
  a CSV file (name the file itself) with the columns image,mask and, if wanted, role,group"""

ADVICE_UNMATCHED: Final = (
    "add each missing file (the mask of an image without objects is black), or move its partner "
    "out of the folder"
)


def image_stem_of_mask(stem: str) -> str | None:
    """Stem `x` of the image of a mask `x_mask`, `x_gt` or similar; None for other files."""
    match = _MASK_STEM.fullmatch(stem)
    return None if match is None else match[1]
