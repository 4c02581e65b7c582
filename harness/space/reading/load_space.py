"""Reading of a YAML or CSV file, or a dict, into a checked `SearchSpace`.

All mistakes are reported together, each with its line.
"""

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
        label: Columns of a CSV kept as tags of each row.
        ignore: Columns of a CSV left out.
        overrides: Fixed values that will be added, by full or short key; rows are checked together
            with them. None: no values for a CSV; rows of YAML are left to `check_row_space`.

    Raises:
        ConfigError: every problem as `file:line: key: what is wrong; what would be right`.
    """
    source = display_path(path)
    try:
        with path.open("rb") as handle:
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
            raise ConfigError(f"{option} {names[0]}: acts on a CSV of combinations; this is YAML")
    try:
        document = strict_yaml.read_yaml_leniently(data.decode("utf-8"), source=source)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{source}:{line}: not UTF-8 text, so not a search space") from None
    problems = ProblemCollector(source, document.line, unread_paths=document.unread_paths)
    for line, message in document.problems:
        problems.add_line(line, message)
    resolved = None if overrides is None else resolve_overrides(overrides, legal)
    # Values that are known later, as `from: STUDY`, leave the rows to be checked then.
    all_resolved = resolved is not None and len(resolved) == len(overrides or {})
    return SpaceReader(
        document.value, legal, problems, overrides=resolved if all_resolved else None
    ).read()


def space_from_dict(value: Mapping[str, Any], *, source: str, legal: AllowedValues) -> SearchSpace:
    """The space of a mapping built as the YAML is; tuples count as lists.

    Raises:
        ConfigError: every problem as `place: key: what is wrong; what would be right`.
    """
    return SpaceReader(to_plain(value, source), legal, ProblemCollector(source)).read()


def with_fixed(
    space: SearchSpace, fixed: Mapping[str, Any], *, source: str, legal: AllowedValues
) -> SearchSpace:
    """The space with more fixed values (`--set`, study.yaml), checked together with them.

    Args:
        space: A space as read; its own fixed values give way to equal keys of `fixed`.
        fixed: Full or short keys and their values.
        source: What problems call the source of `fixed`, e.g. `--set`.
        legal: Legal values.

    Raises:
        ConfigError: unknown keys, illegal values, searched keys, and parameters of the space that
            the new values leave without effect.
    """
    problems = ProblemCollector(source)
    reader = SpaceReader({"fixed": to_plain(fixed, source)}, legal, problems, is_document=False)
    reader.searched = set(space.by_key)
    reader.read_fixed()
    problems.raise_any()
    # The space's own values are checked once more: those of a study.yaml come from outside.
    document = {"fixed": to_plain(space.fixed | reader.fixed, source)}
    return SpaceReader(document, legal, ProblemCollector(source)).read_with(space)
