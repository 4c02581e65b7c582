"""Find search spaces by name; load them, checked, from YAML, CSV or a dict.

All problems of a space are reported together.
"""

import numbers
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core import strict_yaml
from harness.core.errors import ConfigError, suggest_nearest
from harness.core.paths import Workspace, expand_user_path
from harness.space.reading.csv_space import CsvColumnRoles, read_csv_space
from harness.space.reading.problems import ProblemCollector
from harness.space.reading.row_space import resolve_overrides
from harness.space.reading.space_reader import SpaceReader
from harness.space.shipped import shipped_spaces
from harness.space.space import AllowedValues, SearchSpace

__all__ = ["AllowedValues", "find_space", "read_space", "space_from_dict", "with_fixed"]

CSV_SUFFIX = ".csv"
SUFFIXES = ("", ".yaml", CSV_SUFFIX)
_MAX_COMMENT = 500  # characters of the first line


def find_space(name: str, workspace: Workspace) -> Path:
    """The file of a space: a path, else one of the workspace's spaces, else a shipped one.

    Args:
        name: A path or a name, with or without `.yaml` or `.csv`.
        workspace: The workspace whose `search_spaces/` is searched.

    Raises:
        ConfigError: no file is found; the message names the nearest one, or lists all.
    """
    requested = expand_user_path(name)
    folders = [workspace.search_spaces, shipped_spaces()]
    # An absolute path stays itself behind every folder, so it is never looked up in one.
    for base in [requested, *(folder / requested for folder in folders)]:
        # Path.with_name raises ValueError for a path without a name, such as "." or "/".
        candidates = (
            [base.with_name(f"{base.name}{suffix}") for suffix in SUFFIXES] if base.name else []
        )
        for candidate in candidates:
            if candidate.is_file():
                return candidate
    if requested.exists():
        raise ConfigError(f"{name}: not a file; a search space is a YAML or CSV file")
    raise ConfigError(f"{name}: unknown search space{_suggest_space(requested, folders)}")


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
    source = _display_path(path)
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


def first_comment(path: Path) -> str | None:
    """The question of a space: the first line of a YAML file, if it is a comment.

    Text after two spaces or more is left out: by convention it is the command to run.
    """
    if path.suffix.lower() == CSV_SUFFIX:
        return None
    with path.open(encoding="utf-8") as handle:
        line = handle.readline(_MAX_COMMENT)
    comment = re.match(r"#\s*(\S+(?:\s\S+)*)", line)
    return None if comment is None else comment[1]


def space_from_dict(value: Mapping[str, Any], *, source: str, legal: AllowedValues) -> SearchSpace:
    """The space of a mapping with the structure of the YAML file; tuples count as lists.

    Raises:
        ConfigError: every problem as `source: key: problem; what is allowed`.
    """
    return SpaceReader(_to_plain(value, source), legal, ProblemCollector(source)).read()


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
    reader = SpaceReader({"fixed": _to_plain(fixed, source)}, legal, problems, is_document=False)
    reader.searched = set(space.by_key)
    reader.read_fixed()
    problems.raise_any()
    # The space's own values are checked once more: those of a study.yaml come from outside.
    document = {"fixed": _to_plain(space.fixed | reader.fixed, source)}
    return SpaceReader(document, legal, ProblemCollector(source)).read_with(space)


def _suggest_space(requested: Path, folders: list[Path]) -> str:
    """End of a message with the nearest name, preferably one of the folder that `requested` names.

    A name of that folder is suggested with the folder, so that the suggestion can be typed.
    """
    siblings = {path.name for path in _space_files(requested.parent)}
    all_names = {path.name for folder in folders for path in _space_files(folder)}
    if requested.parent == Path():
        return suggest_nearest(requested.name, all_names | siblings)
    if suggestion := suggest_nearest(requested.name, siblings, max_listed=0):
        folder = requested.parent.as_posix().rstrip("/")
        return suggestion.replace("mean ", f"mean {folder}/")
    return suggest_nearest(requested.name, all_names)


def _space_files(folder: Path) -> list[Path]:
    """The files of a folder that may be spaces; [] if the folder cannot be read."""
    try:
        return [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES[1:]]
    except OSError:
        return []


def _to_plain(value: Any, source: str) -> Any:
    """A copy in plain dicts, lists and scalars. Raises ConfigError for what YAML cannot hold."""
    if isinstance(value, Mapping):
        bad_keys = [key for key in value if not isinstance(key, str)]
        if bad_keys:
            raise ConfigError(f"{source}: {bad_keys[0]!r}: a key must be text")
        return {str(key): _to_plain(item, source) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(item, source) for item in value]
    if value is None or isinstance(value, bool):  # before Integral, of which bool is a subclass
        return value
    if isinstance(value, str):
        return str(value)
    # The abstract classes include numpy's scalars, which PyYAML would not write as numbers.
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise ConfigError(f"{source}: {value!r}: must be text, a number, true, false, null or a list")


def _display_path(path: Path) -> str:
    """The path relative to the current folder if it lies below it, otherwise as given."""
    absolute = path.absolute()
    cwd = Path.cwd()
    return str(absolute.relative_to(cwd)) if absolute.is_relative_to(cwd) else str(path)
