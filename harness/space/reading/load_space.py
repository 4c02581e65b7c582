"""Load a checked `SearchSpace` from YAML, CSV or a dict; all problems are reported together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.space.reading.csv_space import CsvColumnRoles, read_csv_space
from harness.space.reading.finding import find_space
from harness.space.reading.plain import display_path, to_plain
from harness.space.reading.problems import ProblemCollector
from harness.space.reading.row_space import resolve_overrides
from harness.space.reading.space_reader import SpaceReader
from harness.space.space import AllowedValues, SearchSpace

__all__ = ["AllowedValues", "find_space", "read_space", "space_from_dict", "with_fixed"]

CSV_SUFFIX = ".csv"


def read_space(
    path: Path,
    *,
    legal: AllowedValues,
    label: Sequence[str] = (),
    ignore: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> SearchSpace:
    """The space of a YAML file, or of a CSV file of combinations.

    Args:
        path: The file; one that ends in `.csv` is a CSV.
        legal: Legal values.
        label: Columns of a CSV to store as tags of each row.
        ignore: Columns of a CSV to ignore.
        overrides: Fixed values that will override those of the space, by full or short key; rows
            are checked together with them. If None, rows of a CSV are checked without overrides,
            and rows of YAML are not checked: `row_space.check_row_space` does it later.

    Raises:
        ConfigError: every problem as `file:line: key: problem; what is allowed`.
    """
    source = display_path(path)
    try:
        with path.open("rb") as handle:
            # One byte above the limit is enough to refuse a file of any size without reading it.
            data = handle.read(strict_yaml.MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror or error}") from None
    if path.suffix.lower() == CSV_SUFFIX:
        columns = CsvColumnRoles(tuple(label), tuple(ignore))
        return read_csv_space(
            data, source=source, legal=legal, columns=columns, overrides=overrides or {}
        )
    for option, names in (("--label", label), ("--ignore", ignore)):
        if names:
            message = "applies only to a CSV of combinations; this space is YAML"
            raise ConfigError(f"{option} {names[0]}: {message}")
    try:
        document = strict_yaml.read_yaml_leniently(data.decode("utf-8"), source=source)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{source}:{line}: not UTF-8 text, so not a search space") from None
    problems = ProblemCollector(source, document.line, unread_paths=document.unread_paths)
    for line, message in document.problems:
        problems.add_line(line, message)
    resolved = None if overrides is None else resolve_overrides(overrides, legal)
    # References such as `from: STUDY` get their values later; the rows are checked then.
    all_resolved = resolved is not None and len(resolved) == len(overrides or {})
    return SpaceReader(
        document.value, legal, problems, overrides=resolved if all_resolved else None
    ).read()


def space_from_dict(value: Mapping[str, Any], *, source: str, legal: AllowedValues) -> SearchSpace:
    """The space of a mapping with the structure of the YAML file; tuples count as lists.

    Raises:
        ConfigError: every problem as `source: key: problem; what is allowed`.
    """
    return SpaceReader(to_plain(value, source), legal, ProblemCollector(source)).read()


def with_fixed(
    space: SearchSpace, fixed: Mapping[str, Any], *, source: str, legal: AllowedValues
) -> SearchSpace:
    """The space with additional fixed values (`--set`, study.yaml), checked together with them.

    Args:
        space: A space that has been read; `fixed` overrides its own fixed values.
        fixed: Full or short keys and their values.
        source: Name of the source of `fixed` in problems, e.g. `--set`.
        legal: Legal values.

    Raises:
        ConfigError: unknown keys, illegal values, searched keys, and parameters of the space that
            have no effect with the new values.
    """
    problems = ProblemCollector(source)
    reader = SpaceReader({"fixed": to_plain(fixed, source)}, legal, problems, is_document=False)
    reader.searched = set(space.by_key)
    reader.read_fixed()
    problems.raise_any()
    # The space's own values are checked once more: those of a study.yaml come from outside.
    document = {"fixed": to_plain(space.fixed | reader.fixed, source)}
    return SpaceReader(document, legal, ProblemCollector(source)).read_with(space)
