"""Which images must stay on one side: those that show the same, and declared groups."""

import re
import warnings
from collections.abc import Sequence
from typing import Final

from harness.data.copies import Copy
from harness.data.pairs import ROLE_NAMES, Dataset, Pair, Role, list_problems
from harness.data.union import Union
from harness.errors import DataError, nearest

_COLUMN: Final = "column:"
_LONGEST: Final = 200  # characters of a pattern


def declared_groups(dataset: Dataset, rule: str | None) -> list[str | None]:
    """The declared group of each pair; None for an image on its own.

    Args:
        rule: `split.group`: `column:NAME`, `folder`, or a pattern of the stem. Without one, the
            data's own groups count.

    Raises:
        DataError: a rule that does not fit the data, with the images that it leaves out.
    """
    if rule is None:
        return [pair.group for pair in dataset.pairs]
    if rule.startswith(_COLUMN):
        keys = _columns(dataset, rule.removeprefix(_COLUMN))
    elif rule == "folder":
        keys = [_folder(pair) for pair in dataset.pairs]
        if len(set(keys)) == 1:
            raise DataError(
                "split.group: folder: all images lie in one folder; name them by a CSV file with "
                "a folder for each group, or give a pattern of their stems"
            )
    else:
        keys = _matches(dataset, rule)
    lone = [pair for pair, key in zip(dataset.pairs, keys, strict=True) if not key]
    if lone:
        raise list_problems(
            (f"{pair.image}: has no group" for pair in lone), f"split.group: {rule}: "
        )
    return list(keys)


def join_groups(copies: Sequence[Copy], declared: Sequence[str | None]) -> list[int]:
    """For each image, the index of the first that it must stay with."""
    groups = Union(len(declared))
    first: dict[str, int] = {}
    for index, key in enumerate(declared):
        if key is not None:
            groups.join(first.setdefault(key, index), index)
    for copy in copies:
        groups.join(copy.one, copy.other)
    return groups.leaders()


def check_sides(
    pairs: Sequence[Pair],
    roles: Sequence[Role],
    copies: Sequence[Copy],
    declared: Sequence[str | None],
) -> None:
    """Check that declared roles part no copies and no group. Raises DataError with each pair."""
    problems: list[str] = []

    def compare(one: int, other: int, what: str) -> None:
        if roles[one] != roles[other]:
            problems.append(
                f"{pairs[one].image} ({roles[one]}) and {pairs[other].image} ({roles[other]}) "
                f"{what}; give both one role, or take one out"
            )

    for copy in copies:
        what = "exact copies" if copy.kind == "exact" else "near copies: the same picture"
        compare(copy.one, copy.other, f"are {what}")
    first: dict[str, int] = {}
    for index, key in enumerate(declared):
        if key is not None:
            compare(first.setdefault(key, index), index, f"are of one group, {key!a}")
    if problems:
        raise list_problems(problems, "split: ")


def _columns(dataset: Dataset, name: str) -> list[str]:
    known = {column for pair in dataset.pairs for column in pair.columns}
    if name not in known:
        hint = nearest(name, known) if known else "; only a CSV file has columns"
        raise DataError(f"split.group: column {name!a}: {dataset.name} has none of that name{hint}")
    return [pair.columns[name].strip() for pair in dataset.pairs]


def _folder(pair: Pair) -> str:
    """The folder of an image, without the folder of its role."""
    parts = pair.image.parent.parts
    return "/".join(parts[1:] if parts and parts[0].casefold() in ROLE_NAMES else parts) or "."


def _matches(dataset: Dataset, rule: str) -> list[str]:
    try:
        if len(rule) > _LONGEST:
            raise ValueError(f"longer than {_LONGEST} characters")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pattern = re.compile(rule)
        if not pattern.groups:
            raise ValueError("has no (group); put the part that names it in round brackets")
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"split.group: {rule[:80]!a}: not a usable pattern: {error}") from None
    found = [pattern.search(pair.stem) for pair in dataset.pairs]
    return [(match[1] or "") if match else "" for match in found]
