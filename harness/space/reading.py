"""From YAML, or a dict, to a checked `Space`; every mistake at once, each with its line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import strict_yaml
from harness.errors import ConfigError
from harness.space.csv_space import Columns, read_csv_space
from harness.space.finding import find_space
from harness.space.listed import known_beside
from harness.space.plain import plain, shown_path
from harness.space.problems import Problems
from harness.space.reader import Reader
from harness.space.schema import Legal, Space

__all__ = ["Legal", "find_space", "lay_over", "read_space", "space_from_dict"]

CSV = ".csv"


def read_space(
    path: Path,
    *,
    legal: Legal,
    label: Sequence[str] = (),
    ignore: Sequence[str] = (),
    beside: Mapping[str, Any] | None = None,
) -> Space:
    """The space of a YAML file, or of a CSV file of combinations.

    Args:
        path: The file; one that ends in `.csv` is a CSV.
        legal: Legal values.
        label: Columns of a CSV kept as tags of each row.
        ignore: Columns of a CSV left out.
        beside: Fixed values that will be laid over, by full or short key; rows are checked beside
            them. None: none for a CSV; rows of YAML are left to `listed.check_listed`.

    Raises:
        ConfigError: every problem as `file:line: key: what is wrong; what would be right`.
    """
    place = shown_path(path)
    try:
        with path.open("rb") as handle:
            data = handle.read(strict_yaml.MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{place}: cannot be read: {error.strerror or error}") from None
    if path.suffix.lower() == CSV:
        columns = Columns(tuple(label), tuple(ignore))
        return read_csv_space(data, place=place, legal=legal, columns=columns, beside=beside or {})
    for option, given in (("--label", label), ("--ignore", ignore)):
        if given:
            raise ConfigError(f"{option} {given[0]}: acts on a CSV of combinations; this is YAML")
    try:
        document = strict_yaml.read(data.decode("utf-8"), place=place)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{place}:{line}: not UTF-8 text, so not a search space") from None
    problems = Problems(place, document.line, unread=document.unread)
    for line, what in document.problems:
        problems.add_line(line, what)
    known = None if beside is None else known_beside(beside, legal)
    # Values that are known later, as `from: STUDY`, leave the rows to be checked then.
    whole = known is not None and len(known) == len(beside or {})
    return Reader(document.value, legal, problems, beside=known if whole else None).read()


def space_from_dict(value: Mapping[str, Any], *, place: str, legal: Legal) -> Space:
    """The space of a mapping built as the YAML is; tuples count as lists.

    Raises:
        ConfigError: every problem as `place: key: what is wrong; what would be right`.
    """
    return Reader(plain(value, place), legal, Problems(place)).read()


def lay_over(space: Space, fixed: Mapping[str, Any], *, place: str, legal: Legal) -> Space:
    """The space with more fixed values (`--set`, study.yaml), checked again as a whole.

    Args:
        space: A space as read; its own fixed values give way to equal keys of `fixed`.
        fixed: Full or short keys and their values.
        place: What problems call the source of `fixed`, e.g. `--set`.
        legal: Legal values.

    Raises:
        ConfigError: unknown keys, illegal values, searched keys, and parameters of the space that
            the new values leave without effect.
    """
    noted = Problems(place)
    reader = Reader({"fixed": plain(fixed, place)}, legal, noted, by_hand=False)
    reader.searched = set(space.by_key)
    reader.read_fixed()
    noted.raise_any()
    both = space.as_dict() | {"fixed": space.fixed | reader.fixed}
    return space_from_dict(both, place=place, legal=legal)
