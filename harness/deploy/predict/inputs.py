"""List the images of files and folders, with the name under which each result is written."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from harness.core.errors import UserError
from harness.core.paths import expand_user_path
from harness.data.datasets.pairs import (
    SUFFIXES,
    UNREADABLE_SUFFIX,
    image_stem_of_mask,
    is_image_by_content,
    list_entries,
    problems_error,
)


@dataclass(frozen=True)
class InputFile:
    """An image to predict.

    Attributes:
        name: path relative to the folder that was given; of a single file its name.
        size: bytes.
        mtime_ns: time of the last change, in nanoseconds.
        problem: reason why it cannot be an image; None: it may be one.
    """

    path: Path
    name: str
    size: int
    mtime_ns: int
    problem: str | None = None

    @property
    def stem(self) -> str:
        """Name of its results without a suffix."""
        path = PurePosixPath(self.name)
        # Of `scan.001` the suffix stays, as `scan.002` may lie beside it.
        return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else self.name

    @property
    def shown_name(self) -> str:
        """The name in one printable line."""
        return self.name if self.name.isprintable() else ascii(self.name)


@dataclass(frozen=True)
class InputListing:
    """Images in the order of the arguments and of names; `ignored` are other files and folders."""

    files: tuple[InputFile, ...]
    ignored: tuple[str, ...]


def list_inputs(targets: Sequence[str | Path], out: Path) -> InputListing:
    """List files, and folders with their subfolders; no image is opened.

    A file that is named is always an image to predict. In a folder these are the files with the
    suffix or the first bytes of an image; hidden files, links to folders, `out` itself, `masks/`
    beside `images/` and masks such as `x_mask.png` beside `x.jpg` are left out. Images whose
    results would have one name get a `problem`.

    Raises:
        UserError: a target does not exist, there is no image, `out` is one of the folders, or
            images of two targets have one name.
    """
    files: list[InputFile] = []
    ignored: list[str] = []
    paths = [expand_user_path(target) for target in targets]
    missing = [path for path in paths if not os.path.lexists(path)]
    if missing:
        raise problems_error(f"{path}: no such file or folder" for path in missing)
    for path in paths:
        if not path.is_dir():
            files.append(_describe_file(path, path.name, root=None))
            continue
        if path.resolve() == out.resolve():
            raise UserError(f"--out {out}: is the folder of the images; choose another folder")
        for entry, is_image in _walk(path, out.resolve()):
            if is_image:
                name = entry.relative_to(path).as_posix()
                files.append(_describe_file(entry, name, root=path))
            else:
                ignored.append(str(entry))
    if not files:
        raise UserError(
            f"{', '.join(map(str, paths)) or 'no file given'}: no image to predict "
            f"({' '.join(SUFFIXES)})"
        )
    return InputListing(tuple(_refuse_shared_names(files)), tuple(ignored))


def _walk(root: Path, out: Path) -> Iterator[tuple[Path, bool]]:
    """Files below a folder, and True for those that are images by their name or first bytes."""
    pending = [root]
    while pending:
        folder = pending.pop()
        entries = list_entries(folder)
        names = {entry.name.casefold() for entry in entries}
        stems = {_plain(entry.stem) for entry in entries if entry.suffix.lower() in SUFFIXES}
        folders = []
        for entry in entries:
            if not entry.is_dir():
                image_stem = image_stem_of_mask(entry.stem)
                is_mask = image_stem is not None and _plain(image_stem) in stems
                yield entry, not is_mask and _is_image(entry)
            # A link to a folder may lead to a loop; masks of a data set are no images to predict.
            elif entry.is_symlink() or (entry.name.casefold() == "masks" and "images" in names):
                yield entry, False
            elif entry.resolve() != out:
                folders.append(entry)
        pending += reversed(folders)


def _is_image(entry: Path) -> bool:
    suffix = entry.suffix.lower()
    # Kinds that cannot be read are reported one by one, as in a data set, and not passed over.
    is_named_so = suffix in SUFFIXES or UNREADABLE_SUFFIX.fullmatch(suffix) is not None
    return is_named_so or is_image_by_content(entry)


def _describe_file(path: Path, name: str, root: Path | None) -> InputFile:
    try:
        facts = path.stat()
    except (OSError, RuntimeError):
        return InputFile(path, name, 0, 0, "a link that leads nowhere; name the file itself")
    return InputFile(path, name, facts.st_size, facts.st_mtime_ns, _problem(path, name, root))


def _problem(path: Path, name: str, root: Path | None) -> str | None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid text; rename it"
    # Control characters would act on the terminal, and break lines of tables.
    if not name.isprintable():
        return "its name holds control characters; rename it"
    if not path.is_file():
        return "not a regular file"
    # A folder that comes from elsewhere could name any file of this machine by a link.
    if root is not None and not path.resolve().is_relative_to(root.resolve()):
        return "a link that leaves the folder; name it on the command line to follow it"
    return None


def _refuse_shared_names(files: Sequence[InputFile]) -> list[InputFile]:
    """Mark the images whose results would have one name, also on disks that ignore case.

    All of them, since an earlier run may have predicted any.
    """
    groups: dict[str, list[InputFile]] = {}
    for file in files:
        groups.setdefault(_plain(file.stem), []).append(file)
    repeated = [
        f"{_shown(group[0].path)} and {_shown(file.path)}: one name, {file.name}"
        for group in groups.values()
        for file in group[1:]
        if file.name == group[0].name
    ]
    if repeated:
        raise problems_error(
            repeated,
            remedy="two images cannot share a result: name the folder above both, or predict them "
            "into different folders",
        )
    return [_refuse_shared_name(file, groups[_plain(file.stem)]) for file in files]


def _refuse_shared_name(file: InputFile, group: Sequence[InputFile]) -> InputFile:
    other = next((other for other in group if other is not file), None)
    if other is None or file.problem is not None:
        return file
    problem = f"{other.shown_name} would have a result of the same name; rename one of them"
    return replace(file, problem=problem)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _shown(path: Path) -> str:
    text = str(path)
    return text if text.isprintable() else ascii(text)
