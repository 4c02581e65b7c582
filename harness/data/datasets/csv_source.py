"""Read a CSV file of images, masks and optional roles and groups."""

import csv
import io
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError, suggest_nearest
from harness.core.text import count
from harness.data.datasets.pairs import (
    ROLE_NAMES,
    SUFFIXES,
    ImageMaskPair,
    file_problem,
    problems_error,
    unsafe_reason,
)

_MOST_BYTES: Final = 100_000_000
_OPTIONAL: Final = ("role", "group")
_EMPTY: Final = {
    True: "; name a file, or remove the line",
    False: "; name a file (all 0 where there is nothing to find), or remove the line",
}

NumberedCells = tuple[int, list[str]]  # number in the file, cells


def read_csv_pairs(path: Path, data: StudyDataConfig) -> list[ImageMaskPair]:
    """Read the pairs of a CSV file; its paths are relative to its folder, with /.

    Columns: `image`; `mask`, or `mask_<class>` for each class of a multilabel task; optional
    `role` (train, val, test) and `group`; further ones may serve as `split.group: column:NAME`.

    Raises:
        DataError: every problem as `file:line: column: problem`.
    """
    lines = read_csv_lines(path)
    if not lines:
        raise DataError(f"{path}:1: is empty; the first line names the columns, e.g. image,mask")
    lines = _without_index(lines)
    columns = lines[0][1]
    mask_columns = _mask_columns(data)
    if problems := _column_problems(columns, mask_columns):
        raise problems_error(problems, f"{path}:1: ")
    pairs: list[ImageMaskPair] = []
    line_of_path: dict[str, int] = {}
    for number, cells in lines[1:]:
        row_problems = _row_problems(path, columns, cells, mask_columns)
        if not row_problems:
            row = dict(zip(columns, cells, strict=True))
            row_problems = _duplicate_path_problems(row, mask_columns, number, line_of_path)
            pairs.append(_make_pair(row, mask_columns))
        problems += [f"{path}:{number}: {problem}" for problem in row_problems]
    if len(lines) == 1:
        problems.append(f"{path}: names no image")
    if problems:
        raise problems_error(problems)
    return pairs


def read_csv_lines(path: Path) -> list[NumberedCells]:
    """Read the non-empty lines of a CSV file in UTF-8. Raises DataError."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path}: larger than {_MOST_BYTES // 1_000_000} MB; not a list")
        # Excel writes a byte order mark, which plain UTF-8 would make a part of the first column's
        # name.
        text = path.read_text(encoding="utf-8-sig")
        # newline="" as the csv module's documentation asks, for line breaks inside quoted cells.
        # strict: otherwise an unclosed quote swallows the rest of the file silently.
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        return [(reader.line_num, cells) for cells in reader if cells]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {error}") from None


def _without_index(lines: list[NumberedCells]) -> list[NumberedCells]:
    """Remove the unnamed first column of row numbers that pandas writes.

    Unnamed, empty columns at the end, which spreadsheets leave behind, are removed too.
    """
    header = lines[0][1]
    first = int(header[0] == "" and all(cells[0].isdigit() for _, cells in lines[1:]))
    last = len(header)
    while (
        last > first
        and header[last - 1] == ""
        and not any(cell for _, cells in lines[1:] for cell in cells[last - 1 :])
    ):
        last -= 1
    if (first, last) == (0, len(header)):
        return lines
    return [
        (number, cells[first:last] if len(cells) == len(header) else cells)
        for number, cells in lines
    ]


def _mask_columns(data: StudyDataConfig) -> tuple[str, ...]:
    if data.task == "multilabel":
        return tuple(f"mask_{name}" for name in data.classes)
    return ("mask",)


def _column_problems(columns: Sequence[str], masks: Sequence[str]) -> list[str]:
    allowed = ("image", *masks, *_OPTIONAL)
    missing = [name for name in ("image", *masks) if name not in columns]
    problems = []
    separator = next((mark for mark in ";\t" if len(columns) == 1 and mark in columns[0]), None)
    if missing and separator is not None:
        mark = "tabs" if separator == "\t" else f"{separator!a}"
        return [f"its columns are separated by {mark}; save it with commas"]
    if missing:
        problems.append(
            f"no column {', '.join(missing)}; the columns are {','.join(('image', *masks))} and, "
            f"if wanted, {', '.join(_OPTIONAL)}, separated by commas"
        )
    for index, name in enumerate(columns):
        if not name.strip() or not name.isprintable() or len(name) > 80:
            problems.append(f"{name[:80]!a}: a column's name is 1 to 80 characters of text")
        elif name in columns[:index]:
            problems.append(f"{name!a}: two columns have this name")
        elif name not in allowed and (
            name.startswith("mask") or get_close_matches(name.strip().lower(), allowed, 1, 0.8)
        ):
            problems.append(f"{name!a}: unknown column{suggest_nearest(name, allowed)}")
    return problems


def _row_problems(
    path: Path, columns: Sequence[str], cells: Sequence[str], masks: Sequence[str]
) -> list[str]:
    if len(cells) != len(columns):
        return [f"has {count(len(cells), 'cell')}; {len(columns)} are needed"]
    row = dict(zip(columns, cells, strict=True))
    problems = [
        f"{column}: {problem}{_EMPTY[column == 'image'] if problem == 'is empty' else ''}"
        for column in ("image", *masks)
        if (problem := _path_problem(path.parent, row[column])) is not None
    ]
    if "role" in row and row["role"] not in ROLE_NAMES:
        problems.append(
            f"role: {row['role']!a} is no role{suggest_nearest(row['role'], ROLE_NAMES)}"
        )
    if "group" in row and not row["group"].strip():
        problems.append("group: is empty; name one for every image, or leave the column out")
    return problems


def _path_problem(folder: Path, text: str) -> str | None:
    unsafe = unsafe_reason(text)
    if unsafe is not None:
        return f"{text!a} {unsafe}" if text.strip() else "is empty"
    path = folder / text
    try:
        if not path.exists():
            return f"{text!a}: no such file"
        if path.is_dir():
            return f"{text!a}: a folder, not a file"
        problem = file_problem(path, folder)
    except OSError as error:
        return f"{text!a}: cannot be read: {error.strerror}"
    if problem is None and path.suffix.lower() not in SUFFIXES:
        problem = f"of a kind that cannot be read; convert it to one of {' '.join(SUFFIXES)}"
    return None if problem is None else f"{text!a}: {problem}"


def _duplicate_path_problems(
    row: dict[str, str], masks: Sequence[str], number: int, line_of_path: dict[str, int]
) -> list[str]:
    """Report files that an earlier line or another column of this line names already."""
    problems = []
    for column in ("image", *masks):
        # Path normalises a/./b.png and a//b.png, so that two spellings of one file are found.
        path = Path(row[column]).as_posix()
        if path in line_of_path:
            problems.append(f"{column}: {path} is named in line {line_of_path[path]} already")
        line_of_path.setdefault(path, number)
    return problems


def _make_pair(row: dict[str, str], masks: Sequence[str]) -> ImageMaskPair:
    image = Path(row["image"])
    return ImageMaskPair(
        stem=unicodedata.normalize("NFC", image.stem),
        image=image,
        masks=tuple(Path(row[column]) for column in masks),
        role=ROLE_NAMES[row["role"]] if "role" in row else None,
        group=row.get("group"),
        columns={name: cell for name, cell in row.items() if name not in ("image", "role", *masks)},
    )
