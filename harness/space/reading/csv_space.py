"""Read a CSV of combinations as a space: each row is one trial, in order, exactly once."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.core import strict_yaml
from harness.core.errors import ConfigError, suggest_nearest
from harness.core.text import count
from harness.space.keys import OPTIONS_PREFIX, full_key, setting_problem
from harness.space.parameters import format_value
from harness.space.reading.csv_cells import CellMarker, read_cell, read_label
from harness.space.reading.problems import ProblemCollector
from harness.space.reading.row_space import (
    inactive_column_reason,
    is_inactive,
    resolve_overrides,
    row_problems,
    space_from_rows,
)
from harness.space.space import AllowedValues, SearchSpace

# Prefixes of columns written by `harness trials --csv`: tags of a row, and results of its trial.
LABEL_PREFIX = "label."
RESULT_PREFIX = "trial."
_CONTROL_CHARS = {chr(n) for n in range(32)} - set("\t\r\n") | {chr(n) for n in range(127, 160)}


@dataclass(frozen=True)
class CsvColumnRoles:
    """Columns that the user declared not to be settings, by name.

    Attributes:
        label: Columns to store as tags of each row.
        ignore: Columns to ignore.
    """

    label: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


def read_csv_space(
    data: bytes,
    *,
    source: str,
    legal: AllowedValues,
    columns: CsvColumnRoles,
    overrides: Mapping[str, Any],
) -> SearchSpace:
    """The space of a CSV file.

    The first row names settings by full key or by last part. `csv_cells.read_cell` reads the
    cells. A null is dropped if its setting does not allow null and has no effect in that row.

    Args:
        data: The bytes of the file.
        source: Name of the file in problems.
        legal: Legal values.
        columns: Columns that are not settings.
        overrides: Fixed values, by full or short key, which the rows are checked together with.

    Raises:
        ConfigError: every problem as `file:line: column: problem; what is allowed`.
    """
    problems = ProblemCollector(source, lambda spot: int(spot[0]) if spot else 1)
    lines = list(_numbered_rows(data, source))
    if not lines:
        raise ConfigError(f"{source}:1: empty; the first row names settings, e.g. encoder_depth")
    header = _CsvHeader(lines[0][0], lines[0][1], problems, legal, columns)
    header.read(lines[1:])
    reader = _CsvRowReader(header, problems, legal, resolve_overrides(overrides, legal))
    for line, cells in lines[1:]:
        reader.read_row(line, cells)
    return reader.build_space()


def _numbered_rows(data: bytes, source: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, each with the line on which it begins."""
    text = _decode_text(data, source)
    # newline="" keeps line breaks inside quoted cells (documentation of the csv module); strict
    # makes malformed quotes an error instead of a guess.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start, has_header = 1, False
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) or (len(cells) > 1 and not has_header):
                has_header = True
                yield start, cells
            # line_num counts lines of the file, not rows: a quoted cell may contain line breaks.
            start = reader.line_num + 1
    except csv.Error as error:
        raise ConfigError(f"{source}:{start}: not CSV: {error}") from None


def _decode_text(data: bytes, source: str) -> str:
    if len(data) > strict_yaml.MAX_BYTES:
        raise ConfigError(f"{source}: larger than {strict_yaml.MAX_BYTES // 1_000_000} MB")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{source}:1: UTF-16, not UTF-8; save it as CSV in UTF-8")
    try:
        text = data.decode("utf-8-sig")  # Excel writes a byte order mark before UTF-8
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{source}:{line}: not UTF-8 text; save it as CSV in UTF-8") from None
    bad_index = next((i for i, letter in enumerate(text) if letter in _CONTROL_CHARS), None)
    if bad_index is not None:
        line = text.count("\n", 0, bad_index) + 1
        raise ConfigError(
            f"{source}:{line}: a control character (code {ord(text[bad_index])}); remove it"
        )
    # Excel separates by semicolons where the decimal separator is a comma.
    first = text.partition("\n")[0]
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in first and "," not in first:
            raise ConfigError(f"{source}:1: columns are separated by {name}; save it with commas")
    return text


@dataclass
class _CsvHeader:
    """Header of a CSV: the role of each column."""

    line: int
    names: list[str]
    problems: ProblemCollector
    legal: AllowedValues
    columns: CsvColumnRoles
    keys: dict[int, str] = field(default_factory=dict)  # position -> full key of a setting
    labels: dict[int, str] = field(default_factory=dict)  # position -> name of a tag

    def read(self, rows: list[tuple[int, list[str]]]) -> None:
        self.names = [name.strip() for name in self.names]
        for option, columns in (("--label", self.columns.label), ("--ignore", self.columns.ignore)):
            for name in columns:
                if name not in self.names:
                    available = [column for column in self.names if column]
                    self._add_problem(
                        f"{option} {name}", f"unknown column{suggest_nearest(name, available)}"
                    )
        for name in set(self.columns.label) & set(self.columns.ignore):
            self._add_problem(name, "given with both --label and --ignore; use one")
        for i, name in enumerate(self.names):
            if not name:
                self._check_unnamed_column(i, rows)
            elif name in self.columns.label or name.startswith(LABEL_PREFIX):
                self._add_label_column(i, name.removeprefix(LABEL_PREFIX))
            elif name not in self.columns.ignore and not name.startswith(RESULT_PREFIX):
                self._add_setting_column(i, name)
        if not self.keys and not self.problems:
            self._add_problem("", "no column names a setting, e.g. encoder_depth")

    def _check_unnamed_column(self, i: int, rows: list[tuple[int, list[str]]]) -> None:
        """Note a column without name that has cells.

        The first may be an index, as pandas writes it; empty ones are left by spreadsheets.
        """
        if i and any(i < len(cells) and cells[i].strip() for _, cells in rows):
            self._add_problem(f"column {i + 1}", "has cells but no name; name it, or remove it")

    def _add_label_column(self, i: int, name: str) -> None:
        if not name or name in self.labels.values():
            self._add_problem(
                name or LABEL_PREFIX, "two columns of labels have this name; rename one"
            )
        self.labels[i] = name

    def _add_setting_column(self, i: int, name: str) -> None:
        try:
            key = full_key(name, self.legal)
        except ConfigError as error:
            for problem in error.problems:
                hint = f"; keep it as a tag with --label {name}, or drop it with --ignore {name}"
                self._add_problem(name, problem + (hint if "unknown setting" in problem else ""))
            return
        if key in self.keys.values():
            self._add_problem(name, f"a second column of {key}; keep one")
            return
        self.keys[i] = key

    def _add_problem(self, name: str, message: str) -> None:
        name = name if len(name) <= 80 else f"{name[:80]}…"
        display_name = format_value(name) if "\n" in name or "\r" in name else name
        self.problems.add((self.line,), message, name=display_name)


@dataclass
class _CsvRowReader:
    """Reader of the rows below a header."""

    header: _CsvHeader
    problems: ProblemCollector
    legal: AllowedValues
    overrides: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    labels: list[dict[str, str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def read_row(self, line: int, cells: list[str]) -> None:
        """Read one row and note its problems.

        A row with problems is stored too, so that row numbers in messages match the file.
        """
        self.lines.append(line)
        row: dict[str, Any] = {}
        n_columns = len(self.header.names)
        while len(cells) > n_columns and not cells[-1].strip():
            cells = cells[:-1]
        if len(cells) == n_columns:
            row = self._read_settings(cells)
            row_labels = {name: read_label(cells[i]) for i, name in self.header.labels.items()}
            self.labels.append(row_labels)
        else:
            self._add_problem("", f"{count(len(cells), 'cell')} where the header has {n_columns}")
        self.rows.append(row)

    def _read_settings(self, cells: list[str]) -> dict[str, Any]:
        """The settings that apply in a row, checked together if each of them is legal."""
        values: dict[str, Any] = {}
        has_problem = False
        for i, key in self.header.keys.items():
            try:
                value = read_cell(cells[i])
                problem = (
                    None if value in (None, CellMarker.DEFAULT) else self._value_problem(key, value)
                )
            except ConfigError as error:
                value, problem = None, str(error)
            if problem is not None:
                self._add_problem(self.header.names[i], problem)
                has_problem = True
            elif value is not CellMarker.DEFAULT:
                values[key] = value
        if has_problem:
            return {}
        row, has_problem = self._drop_inactive_nulls(values)
        if not has_problem:
            for key, message in row_problems(row, self.overrides, self.legal):
                self._add_problem(key, message)
        return row

    def _value_problem(self, key: str, value: Any) -> str | None:
        return setting_problem(key, value, self.legal)

    def _drop_inactive_nulls(self, values: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The row without nulls of settings that do not apply in it; True if it has problems.

        An empty cell under a setting that applies but does not allow null is a problem.
        """
        row = {key: value for key, value in values.items() if value is not None}
        settings = self.overrides | row
        has_problem = False
        for i, key in self.header.keys.items():
            if key not in values or key in row:
                continue
            takes_null = self._value_problem(key, None) is None
            applies = not is_inactive(key, settings, self.legal)
            if takes_null and (applies or not key.startswith(OPTIONS_PREFIX)):
                row[key] = None
            elif applies:
                message = "is null, but has an effect in this row; give a value, or write default"
                self._add_problem(self.header.names[i], message)
                has_problem = True
        return {key: row[key] for key in values if key in row}, has_problem

    def build_space(self) -> SearchSpace:
        """The space of all rows read so far. Raises ConfigError with every problem."""
        if not self.rows and not self.problems:
            message = "no rows below the header; each row is one trial"
            self.problems.add((self.header.line,), message, name="rows")
        for key in () if self.problems else self.header.keys.values():
            reason = inactive_column_reason(key, self.rows, self.overrides)
            if reason is not None:
                self.problems.add((self.header.line,), reason, name=key)
        self.problems.raise_any()
        locations = [f"{self.problems.source}:{line}" for line in self.lines]
        try:
            return space_from_rows(self.rows, {}, labels=self.labels, locations=locations)
        except ConfigError as error:
            raise ConfigError(
                [f"{self.problems.source}: {problem}" for problem in error.problems]
            ) from None

    def _add_problem(self, column: str, message: str) -> None:
        row = f"row {len(self.rows) + 1}"
        self.problems.add((self.lines[-1],), message, name=f"{row}: {column}" if column else row)
