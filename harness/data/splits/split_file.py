"""Read, write and verify `split.csv`: the role, group and hashes of every image.

When a study continues, the split is not made again. `read_split` checks the file itself (paths,
roles, folds, hashes, nothing on two sides), `verify_split` that the files of train and val
exist and have not changed. Files of test are not opened, and images added later are ignored.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from harness.core import files
from harness.core.errors import DataError, suggest_nearest
from harness.core.text import count
from harness.data.datasets.csv_source import read_csv_lines
from harness.data.datasets.pairs import ROLES, Role, is_safe_path, problems_error
from harness.data.files.image_io import PairHashes
from harness.data.files.source import DataSource, hash_files

COLUMNS = ("image", "mask", "role", "fold", "group", "image_sha256", "mask_sha256")
_THREADS = 4
_HASH = re.compile(r"[0-9a-f]{64}")
_FOLD = re.compile(r"|0|[1-9][0-9]?")


@dataclass(frozen=True)
class SplitRow:
    """One line of `split.csv`. `row` is its number from 0; paths are posix, relative to the root.

    `mask` holds several paths, with | between them, in a multilabel task. Rows of one `group` share
    a role and a fold: the group is the first image of those that show the same or belong together.
    `fold` is None without folds, and in the rows of test.
    """

    row: int
    image: str
    mask: str
    role: Role
    group: str
    image_sha256: str
    mask_sha256: str
    fold: int | None = None

    @property
    def hashes(self) -> PairHashes:
        """SHA-256 of the image and of its mask, as recorded."""
        return self.image_sha256, self.mask_sha256

    @property
    def masks(self) -> tuple[str, ...]:
        """The paths of the masks, in order of class."""
        return tuple(self.mask.split("|"))


def write_split(path: Path, rows: Sequence[SplitRow]) -> None:
    """Write `split.csv` atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)  # None: empty
    files.write_text(path, text.getvalue())


def read_split(path: Path) -> list[SplitRow]:
    """Read and check a `split.csv`.

    Raises:
        DataError: every problem as `file:line: column: problem`.
    """
    lines = read_csv_lines(path)
    if not lines or tuple(lines[0][1]) != COLUMNS:
        raise DataError(f"{path}:1: the columns must be {','.join(COLUMNS)}")
    problems: list[str] = []
    rows: list[SplitRow] = []
    for row, (number, cells) in enumerate(lines[1:]):
        row_problems = _row_problems(cells)
        problems += [f"{path}:{number}: {problem}" for problem in row_problems]
        if not row_problems:
            rows.append(_parse_row(row, cells))
    problems += [f"{path}: {problem}" for problem in _split_problems(rows, complete=not problems)]
    if problems:
        raise problems_error(problems)
    return rows


def verify_split(rows: Iterable[SplitRow], source: DataSource) -> None:
    """Check that the train and val files are present and unchanged. Test files are not opened.

    Raises:
        DataError: every file that is missing or has changed.
    """
    verify_files((row for row in rows if row.role != "test"), source)


def verify_files(rows: Iterable[SplitRow], source: DataSource) -> None:
    """Check that the files of all these rows have the recorded hashes. Nothing is decoded.

    Raises:
        DataError: every file that is missing or has changed.
    """
    expected = [
        item
        for row in rows
        for item in (((row.image,), row.image_sha256), (row.masks, row.mask_sha256))
    ]
    with ThreadPoolExecutor(_THREADS) as pool:
        # Threads help: hashlib releases the interpreter lock for large blocks, and disks answer in
        # parallel.
        results = pool.map(lambda item: _file_problem(source, *item), expected)
        problems = [problem for problem in results if problem is not None]
    if problems:
        raise problems_error(problems, f"{source.root}: ")


def _parse_row(row: int, cells: list[str]) -> SplitRow:
    image, mask, role, fold_text, group, image_hash, mask_hash = cells
    # A row with a problem is not stored, so conversions after the check cannot fail.
    fold = int(fold_text) if fold_text else None
    return SplitRow(row, image, mask, cast(Role, role), group, image_hash, mask_hash, fold=fold)


def _row_problems(cells: list[str]) -> list[str]:
    if len(cells) != len(COLUMNS):
        return [f"has {count(len(cells), 'cell')}; {len(COLUMNS)} are needed"]
    image, mask, role, fold, group, *hashes = cells
    paths = [("image", image), *(("mask", path) for path in mask.split("|"))]
    problems = [
        f"{column}: {path!r} must be a path below the data folder, with /"
        for column, path in paths
        if not is_safe_path(path)
    ]
    if role not in ROLES:
        problems.append(f"role: {role!r} is no role{suggest_nearest(role, ROLES)}")
    if not _FOLD.fullmatch(fold) or (fold and role == "test"):
        problems.append(f"fold: {fold!r} is no fold of train and val; they are 0 to 99, or empty")
    if not group:
        problems.append("group: is empty")
    problems += [
        f"{column}: {value!r} is no SHA-256 of 64 hexadecimal digits"
        for column, value in zip(COLUMNS[5:], hashes, strict=True)
        if not _HASH.fullmatch(value)
    ]
    return problems


def _split_problems(rows: list[SplitRow], *, complete: bool) -> list[str]:
    """Problems between rows: images in two roles, files named twice, a role without rows."""
    problems = _role_problems(rows)
    for column, named in (
        ("image", [row.image for row in rows]),
        ("mask", [mask for row in rows for mask in row.masks]),
    ):
        # Each file once: a row that occurs twice would weigh twice in every mean.
        counts = Counter(named)
        problems += [f"{column}: {name} is named twice" for name, n in counts.items() if n > 1]
    if complete:
        roles = {row.role for row in rows}
        problems += [
            f"no row has the role {role}" for role in ("train", "val") if role not in roles
        ]
        problems += _fold_problems(rows)
    return problems


def _role_problems(rows: list[SplitRow]) -> list[str]:
    """Groups and images with two roles, and groups with two folds."""
    problems: list[str] = []
    for column in ("group", "image_sha256"):
        first_rows: dict[str, SplitRow] = {}
        for row in rows:
            first_row = first_rows.setdefault(getattr(row, column), row)
            if column == "group" and first_row.role == row.role and first_row.fold != row.fold:
                problems.append(f"{row.image} and {first_row.image} have one group, but two folds")
            if first_row.role != row.role:
                problems.append(
                    f"{row.image} ({row.role}) and {first_row.image} ({first_row.role}) have one "
                    f"{column}; one image must not have two roles"
                )
    return problems


def _fold_problems(rows: list[SplitRow]) -> list[str]:
    """Check that all rows of train and val have a fold or none, and exactly one fold is val."""
    folds = {role: {row.fold for row in rows if row.role == role} for role in ("train", "val")}
    if folds["train"] | folds["val"] == {None}:
        return []
    if None in folds["train"] | folds["val"]:
        return ["some rows of train and val have a fold, others none"]
    if len(folds["val"]) > 1 or folds["val"] & folds["train"]:
        return ["the rows of val must be one fold, and no row of train of it"]
    return []


def _file_problem(source: DataSource, paths: Sequence[str], expected: str) -> str | None:
    """A sentence if files are missing or have another (combined) hash than the expected one."""
    try:
        unchanged = hash_files(source, paths) == expected
    except DataError as error:
        return str(error)
    except OSError as error:
        return f"{_relative_name(error, source, paths)}: missing, but the split contains it"
    return None if unchanged else f"{paths[0]}: has changed since the split was created"


def _relative_name(error: OSError, source: DataSource, paths: Sequence[str]) -> str:
    names = {str(source.root / path): path for path in paths}
    return names.get(str(error.filename), paths[0])
