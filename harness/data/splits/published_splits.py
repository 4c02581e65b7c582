"""Read published splits: lists of images, one file for each role."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness.core.errors import DataError, suggest_nearest
from harness.core.paths import expand_user_path
from harness.core.text import count
from harness.data.datasets.pairs import ROLE_NAMES, Dataset, Role, problems_error
from harness.data.files.source import FolderSource

OFFICIAL: Final = "official"
_PREFIX: Final = "official_"
_FOLDER: Final = "splits"
_MOST_BYTES: Final = 10_000_000


def read_published_roles(dataset: Dataset, location: str) -> list[Role]:
    """Read the role of each pair from lists of stems, file names or paths, one a line.

    Args:
        location: `official` for the folder `splits/` of the data, or a folder: below the data, or
            any. It holds train.txt, val.txt (or none) and test.txt, or official_train.txt and so
            on.

    Raises:
        DataError: no lists; unknown, ambiguous or repeated names; images in none of the lists.
    """
    folder = dataset.source.root if isinstance(dataset.source, FolderSource) else None
    lists = _find_lists(folder, location)
    names = _indices_by_name(dataset)
    problems: list[str] = []
    role_of: dict[int, tuple[Role, str]] = {}
    for path, role in lists:
        for number, name in _lines(path):
            line_label = f"{path.name}:{number}"
            indices = names.get(unicodedata.normalize("NFC", name), [])
            if len(indices) != 1:
                problems.append(f"{line_label}: {name!a} {_name_problem(name, indices, names)}")
            elif indices[0] in role_of:
                problems.append(f"{line_label}: {name!a} is in {role_of[indices[0]][1]} already")
            else:
                role_of[indices[0]] = (role, line_label)
    for index, pair in enumerate(dataset.pairs):
        if index not in role_of:
            problems.append(f"{pair.image}: is in no list")
    if problems:
        raise problems_error(problems, f"{lists[0][0].parent}: ")
    return [role_of[index][0] for index in range(len(dataset.pairs))]


def _find_lists(root: Path | None, location: str) -> list[tuple[Path, Role]]:
    """The existing lists with their roles. Raises DataError.

    Args:
        root: the local folder of the data; None if the data are not in one, so that lists are
            looked for elsewhere only.
    """
    folder, prefixes = _lists_folder(root, location)
    for prefix in prefixes:
        files = [(folder / f"{prefix}{name}.txt", role) for name, role in ROLE_NAMES.items()]
        lists = [(path, role) for path, role in files if path.is_file()]
        if not lists:
            continue
        roles = [role for _, role in lists]
        if len(set(roles)) < len(roles):
            raise DataError(f"{folder}: holds two lists of one role; keep one")
        if "train" not in roles:
            raise DataError(f"{folder}: holds no {prefix}train.txt")
        return lists
    raise DataError(
        f"split.lists: {location}: {folder} holds neither train.txt nor {_PREFIX}train.txt; put "
        "the published lists there, with the name of one image a line"
    )


def _lists_folder(root: Path | None, location: str) -> tuple[Path, tuple[str, str]]:
    """Folder of the lists, and the prefixes of their names in order of preference."""
    if location == OFFICIAL and root is not None:
        return root / _FOLDER, (_PREFIX, "")
    folder = expand_user_path(location)
    if root is not None and (root / location).is_dir():
        folder = root / location
    return folder, ("", _PREFIX)


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path}: larger than {_MOST_BYTES // 1_000_000} MB; not a list")
        # A byte order mark, as Windows editors write it, would be a part of the first name.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a text in UTF-8: {error}") from None
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def _indices_by_name(dataset: Dataset) -> dict[str, list[int]]:
    """Indices of the images by every name that a list can use for them."""
    names: dict[str, list[int]] = {}
    for index, pair in enumerate(dataset.pairs):
        aliases = {pair.stem, pair.image.name, pair.image.as_posix()}
        for name in {unicodedata.normalize("NFC", alias) for alias in aliases}:
            # A list: a stem may occur in several folders, and an ambiguous name must not pick one
            # silently.
            names.setdefault(name, []).append(index)
    return names


def _name_problem(name: str, indices: Sequence[int], names: dict[str, list[int]]) -> str:
    if indices:
        return f"names {count(len(indices), 'image')}; write their paths"
    return f"is no image here{suggest_nearest(name, names) if len(names) < 5000 else ''}"
