"""Group images that must stay in one role: copies and declared groups."""

import re
import warnings
from collections.abc import Sequence
from typing import Final

from harness.core.errors import DataError, suggest_nearest
from harness.core.union_find import DisjointSet
from harness.data.datasets.pairs import ROLE_NAMES, Dataset, ImageMaskPair, Role, problems_error
from harness.data.scan.near_duplicates import DuplicatePair

_COLUMN: Final = "column:"
_LONGEST: Final = 200  # characters of a pattern


def declared_groups(dataset: Dataset, rule: str | None) -> list[str | None]:
    """Declared group of each pair; None for an image without one.

    Args:
        rule: `split.group`: `column:NAME`, `folder`, or a pattern of the stem. None: the groups in
            the data itself.

    Raises:
        DataError: the rule does not fit the data; the message lists the images without a group.
    """
    if rule is None:
        return [pair.group for pair in dataset.pairs]
    if rule.startswith(_COLUMN):
        keys = _column_values(dataset, rule.removeprefix(_COLUMN))
    elif rule == "folder":
        keys = _folder_keys(dataset)
    else:
        keys = _pattern_values(dataset, rule)
    ungrouped = [pair for pair, key in zip(dataset.pairs, keys, strict=True) if not key]
    if ungrouped:
        problems = [f"{pair.image}: has no group" for pair in ungrouped]
        raise problems_error(problems, f"split.group: {rule}: ")
    return list(keys)


def merge_groups(copies: Sequence[DuplicatePair], declared: Sequence[str | None]) -> list[int]:
    """Index of the first image that each image must stay with."""
    groups = DisjointSet(len(declared))
    first: dict[str, int] = {}
    for index, key in enumerate(declared):
        if key is not None:
            # Union-find, as relations chain: a copy of an image joins the group of its original,
            # too.
            groups.union(first.setdefault(key, index), index)
    for duplicate in copies:
        groups.union(duplicate.first, duplicate.second)
    return groups.representatives()


def _folder_keys(dataset: Dataset) -> list[str]:
    keys = [_folder_key(pair) for pair in dataset.pairs]
    if len(set(keys)) == 1:
        raise DataError(
            "split.group: folder: all images lie in one folder; name them by a CSV file with "
            "a folder for each group, or give a pattern of their stems"
        )
    return keys


def check_declared_roles(
    pairs: Sequence[ImageMaskPair],
    roles: Sequence[Role],
    copies: Sequence[DuplicatePair],
    declared: Sequence[str | None],
) -> None:
    """Check that declared roles separate no copies and no group. Raises DataError for each."""
    problems: list[str] = []

    def compare(i: int, j: int, relation: str) -> None:
        if roles[i] != roles[j]:
            problems.append(
                f"{pairs[i].image} ({roles[i]}) and {pairs[j].image} ({roles[j]}) "
                f"{relation}; give both one role, or take one out"
            )

    for duplicate in copies:
        kind = "exact copies" if duplicate.kind == "exact" else "near copies: the same image"
        compare(duplicate.first, duplicate.second, f"are {kind}")
    first: dict[str, int] = {}
    for index, key in enumerate(declared):
        if key is not None:
            compare(first.setdefault(key, index), index, f"are of one group, {key!a}")
    if problems:
        raise problems_error(problems, "split: ")


def _column_values(dataset: Dataset, name: str) -> list[str]:
    column_names = {column for pair in dataset.pairs for column in pair.columns}
    if name not in column_names:
        hint = (
            suggest_nearest(name, column_names) if column_names else "; only a CSV file has columns"
        )
        raise DataError(f"split.group: column {name!a}: {dataset.name} has none of that name{hint}")
    return [pair.columns[name].strip() for pair in dataset.pairs]


def _folder_key(pair: ImageMaskPair) -> str:
    """The folder of an image, without the folder of its role."""
    parts = pair.image.parent.parts
    return "/".join(parts[1:] if parts and parts[0].casefold() in ROLE_NAMES else parts) or "."


def _pattern_values(dataset: Dataset, rule: str) -> list[str]:
    try:
        if len(rule) > _LONGEST:
            raise ValueError(f"longer than {_LONGEST} characters")
        with warnings.catch_warnings():
            # re warns of nested sets and similar patterns that Python may read differently in the
            # future.
            warnings.simplefilter("ignore")
            pattern = re.compile(rule)
        if not pattern.groups:
            raise ValueError("has no (group); put the part that names it in round brackets")
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"split.group: {rule[:80]!a}: not a usable pattern: {error}") from None
    matches = [pattern.search(pair.stem) for pair in dataset.pairs]
    return [(match[1] or "") if match else "" for match in matches]
