"""A CSV of combinations as a space: one row, one trial, in order, each exactly once."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness import strict_yaml
from harness.errors import ConfigError, nearest
from harness.space.cells import Given, read_cell, read_label
from harness.space.keys import OPTIONS, full_key, problem_with
from harness.space.listed import (
    does_not_apply,
    known_beside,
    never_acts,
    row_problems,
    space_of_rows,
)
from harness.space.parameters import shown
from harness.space.problems import Problems
from harness.space.schema import Legal, Space
from harness.wording import count

LABEL = "label."  # columns that `harness trials --csv` wrote: tags of a row,
RESULT = "trial."  # and what came of it
_CONTROL = {chr(n) for n in range(32)} - set("\t\r\n") | {chr(n) for n in range(127, 160)}


@dataclass(frozen=True)
class Columns:
    """What the user said of columns that are no settings, by name.

    Attributes:
        label: Kept as tags of each row.
        ignore: Left out.
    """

    label: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


def read_csv_space(
    data: bytes, *, place: str, legal: Legal, columns: Columns, beside: Mapping[str, Any]
) -> Space:
    """The space of a CSV file.

    The first row names settings by full key or by last part. Cells are as `cells.read_cell` reads
    them; a null under a setting that takes none, but has no effect in that row, is left out.

    Args:
        data: The bytes of the file.
        place: What problems call the file.
        legal: Legal values.
        columns: Which columns are no settings.
        beside: Fixed values, by full or short key, that decide whether a row can be trained.

    Raises:
        ConfigError: every problem as `file:line: column: what is wrong; what would be right`.
    """
    problems = Problems(place, lambda spot: int(spot[0]) if spot else 1)
    lines = list(_lines(data, place))
    if not lines:
        raise ConfigError(f"{place}:1: empty; the first row names settings, e.g. encoder_depth")
    header = _Header(lines[0][0], lines[0][1], problems, legal, columns)
    header.read(lines[1:])
    reader = _Rows(header, problems, legal, known_beside(beside, legal))
    for line, cells in lines[1:]:
        reader.read(line, cells)
    return reader.space()


def _lines(data: bytes, place: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with anything in them, each with the line where it begins."""
    text = _text(data, place)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start, headed = 1, False
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) or (len(cells) > 1 and not headed):
                headed = True
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise ConfigError(f"{place}:{start}: not CSV: {error}") from None


def _text(data: bytes, place: str) -> str:
    if len(data) > strict_yaml.MAX_BYTES:
        raise ConfigError(f"{place}: larger than {strict_yaml.MAX_BYTES // 1_000_000} MB")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{place}:1: UTF-16, not UTF-8; save it as CSV in UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{place}:{line}: not UTF-8 text; save it as CSV in UTF-8") from None
    bad = next((i for i, letter in enumerate(text) if letter in _CONTROL), None)
    if bad is not None:
        line = text.count("\n", 0, bad) + 1
        raise ConfigError(f"{place}:{line}: a control character (code {ord(text[bad])}); remove it")
    first = text.partition("\n")[0]
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if sign in first and "," not in first:
            raise ConfigError(f"{place}:1: columns are separated by {name}; save it with commas")
    return text


@dataclass
class _Header:
    """What each column is."""

    line: int
    names: list[str]
    problems: Problems
    legal: Legal
    columns: Columns
    keys: dict[int, str] = field(default_factory=dict)  # position -> full key of a setting
    labels: dict[int, str] = field(default_factory=dict)  # position -> name of a tag

    def read(self, rows: list[tuple[int, list[str]]]) -> None:
        self.names = [name.strip() for name in self.names]
        for option, asked in (("--label", self.columns.label), ("--ignore", self.columns.ignore)):
            for name in asked:
                if name not in self.names:
                    known = [one for one in self.names if one]
                    self._add(f"{option} {name}", f"no such column{nearest(name, known)}")
        for name in set(self.columns.label) & set(self.columns.ignore):
            self._add(name, "both --label and --ignore; give one")
        for i, name in enumerate(self.names):
            if not name:
                self._unnamed(i, rows)
            elif name in self.columns.label or name.startswith(LABEL):
                self._label(i, name.removeprefix(LABEL))
            elif name not in self.columns.ignore and not name.startswith(RESULT):
                self._setting(i, name)
        if not self.keys and not self.problems:
            self._add("", "no column names a setting, e.g. encoder_depth")

    def _unnamed(self, i: int, rows: list[tuple[int, list[str]]]) -> None:
        """The first column may be an index; others may be empty, as spreadsheets leave them."""
        if i and any(i < len(cells) and cells[i].strip() for _, cells in rows):
            self._add(f"column {i + 1}", "has cells but no name; name it, or remove it")

    def _label(self, i: int, name: str) -> None:
        if not name or name in self.labels.values():
            self._add(name or LABEL, "two columns of labels have this name; rename one")
        self.labels[i] = name

    def _setting(self, i: int, name: str) -> None:
        try:
            key = full_key(name, self.legal)
        except ConfigError as error:
            for problem in error.problems:
                hint = f"; keep it as a tag with --label {name}, or drop it with --ignore {name}"
                self._add(name, problem + (hint if "no such setting" in problem else ""))
            return
        if key in self.keys.values():
            self._add(name, f"a second column of {key}; keep one")
            return
        self.keys[i] = key

    def _add(self, name: str, what: str) -> None:
        name = name if len(name) <= 80 else f"{name[:80]}…"
        shown_name = shown(name) if "\n" in name or "\r" in name else name
        self.problems.add((self.line,), what, name=shown_name)


@dataclass
class _Rows:
    """The rows below a header."""

    header: _Header
    problems: Problems
    legal: Legal
    beside: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    labels: list[dict[str, str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def read(self, line: int, cells: list[str]) -> None:
        """Take in one row; one with problems too, so that rows are counted as they stand."""
        self.lines.append(line)
        row: dict[str, Any] = {}
        n_columns = len(self.header.names)
        while len(cells) > n_columns and not cells[-1].strip():
            cells = cells[:-1]
        if len(cells) == n_columns:
            row = self._row(cells)
            texts = {name: read_label(cells[i]) for i, name in self.header.labels.items()}
            self.labels.append(texts)
        else:
            self._add("", f"{count(len(cells), 'cell')} where the header has {n_columns}")
        self.rows.append(row)

    def _row(self, cells: list[str]) -> dict[str, Any]:
        """The settings in force in a row, checked together if each can be read."""
        values: dict[str, Any] = {}
        wrong = False
        for i, key in self.header.keys.items():
            try:
                value = read_cell(cells[i])
                problem = None if value in (None, Given.DEFAULT) else self._problem(key, value)
            except ConfigError as error:
                value, problem = None, str(error)
            if problem is not None:
                self._add(self.header.names[i], problem)
                wrong = True
            elif value is not Given.DEFAULT:
                values[key] = value
        if wrong:
            return {}
        row, wrong = self._in_force(values)
        if not wrong:
            for key, what in row_problems(row, self.beside, self.legal):
                self._add(key, what)
        return row

    def _problem(self, key: str, value: Any) -> str | None:
        return problem_with(key, value, self.legal)

    def _in_force(self, values: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The row without the nulls of settings that do not apply in it; whether others remain."""
        row = {key: value for key, value in values.items() if value is not None}
        settings = self.beside | row
        wrong = False
        for i, key in self.header.keys.items():
            if key not in values or key in row:
                continue
            takes_null = self._problem(key, None) is None
            applies = not does_not_apply(key, settings, self.legal)
            if takes_null and (applies or not key.startswith(OPTIONS)):
                row[key] = None
            elif applies:
                what = "null, but it acts in this row; give a value, or write default"
                self._add(self.header.names[i], what)
                wrong = True
        return {key: row[key] for key in values if key in row}, wrong

    def space(self) -> Space:
        """The space, once all rows are read. Raises ConfigError with every problem."""
        if not self.rows and not self.problems:
            what = "none below the header; one row is one trial"
            self.problems.add((self.header.line,), what, name="rows")
        for key in () if self.problems else self.header.keys.values():
            idle = never_acts(key, self.rows, self.beside)
            if idle is not None:
                self.problems.add((self.header.line,), idle, name=key)
        self.problems.raise_any()
        places = [f"{self.problems.place}:{line}" for line in self.lines]
        try:
            return space_of_rows(self.rows, {}, labels=self.labels, places=places)
        except ConfigError as error:
            raise ConfigError([f"{self.problems.place}: {one}" for one in error.problems]) from None

    def _add(self, column: str, what: str) -> None:
        row = f"row {len(self.rows) + 1}"
        self.problems.add((self.lines[-1],), what, name=f"{row}: {column}" if column else row)
