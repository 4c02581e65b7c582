"""Assign whole groups of images to roles or folds, stratified by class or foreground share.

Only integers and SHA-256 decide, so that every machine makes the same split.
"""

import hashlib
from bisect import bisect
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.core.text import count, plural
from harness.data.datasets.pairs import Role

_BINS: Final = 5  # of foreground shares
_CHOICES: Final = 4  # groups compared before one is drawn: more balance better but randomise less
_ATTEMPTS: Final = 20  # seeded orders to try before a split is reported as impossible
_T = TypeVar("_T")


@dataclass
class ImageGroup:
    """Images that stay together: their number, the strata to balance, and their classes."""

    name: str
    size: int = 0
    kinds: Counter[int] = field(default_factory=Counter)
    classes: set[int] = field(default_factory=set)


class _ImpossibleError(Exception):
    """An order of the groups leaves a part without these classes."""

    def __init__(self, classes: list[int]) -> None:
        self.classes = classes


def collect_groups(
    names: Sequence[str], shares: Sequence[tuple[float, ...]], data: StudyDataConfig
) -> list[ImageGroup]:
    """Collect the groups of a dataset with their strata.

    Strata are bins of the foreground share in a two-class task, otherwise the classes.

    Args:
        names: name of the group of each image.
        shares: share of each class among the pixels of each image.
    """
    edges = _bin_edges([share[1] for share in shares]) if data.task == "binary" else []
    groups: dict[str, ImageGroup] = {}
    for name, share in zip(names, shares, strict=True):
        group = groups.setdefault(name, ImageGroup(name))
        present = [index for index, part in enumerate(share) if part > 0]
        group.size += 1
        group.classes.update(index for index in present if index in data.scored_classes)
        group.kinds.update([bisect(edges, share[1])] if data.task == "binary" else present)
    return list(groups.values())


def assign_roles(
    groups: Sequence[ImageGroup], n_val: int, n_test: int, seed: int, data: StudyDataConfig
) -> dict[str, Role]:
    """Assign a role to each group, as close to the given numbers of images as groups allow.

    Train and val get every class; val gets more images than `n_val` if that is necessary.

    Raises:
        DataError: too few groups; a class in a single group, or not possible in both roles.
    """
    _check_enough(groups, 2, "train and val", data)

    def assign(pool: _GroupPool) -> dict[str, Role]:
        roles: dict[str, Role] = dict.fromkeys(pool.names, "train")
        for index in pool.draw(n_val, keep=1, cover=True):
            roles[pool.names[index]] = "val"
        for index in pool.draw(n_test, keep=1, cover=False):
            roles[pool.names[index]] = "test"
        return roles

    return _try_orders(groups, seed, data, assign)


def assign_folds(
    groups: Sequence[ImageGroup], folds: int, n_test: int, seed: int, data: StudyDataConfig
) -> dict[str, int | None]:
    """Assign a fold, from 0, to each group; None for groups of the test split.

    Raises:
        DataError: fewer groups than folds; a class that cannot be in every fold.
    """
    _check_enough(groups, folds, f"each of {folds} folds", data)

    def assign(pool: _GroupPool) -> dict[str, int | None]:
        fold_of: dict[str, int | None] = dict.fromkeys(pool.names, folds - 1)
        for index in pool.draw(n_test, keep=folds, cover=False):
            fold_of[pool.names[index]] = None
        for fold in range(folds - 1):
            n_images = round(Fraction(pool.n_free_images(), folds - fold))
            for index in pool.draw(n_images, keep=folds - fold - 1, cover=True):
                fold_of[pool.names[index]] = fold
        return fold_of

    return _try_orders(groups, seed, data, assign)


class _GroupPool:
    """Pool of groups in a seeded order, from which groups are drawn one by one."""

    def __init__(self, groups: Sequence[ImageGroup], seed: str) -> None:
        ranked = sorted(groups, key=lambda group: _hash_rank(seed, group.name))
        kinds = sorted({kind for group in ranked for kind in group.kinds})
        kinds.sort(key=lambda kind: _hash_rank(seed, f"kind {kind}"))
        self.classes = sorted({index for group in ranked for index in group.classes})
        self.names = [group.name for group in ranked]
        self._sizes = np.array([group.size for group in ranked], np.int64)
        self._kinds = np.array([[g.kinds[kind] for kind in kinds] for g in ranked], np.int64)
        # The last column stands for any image at all: no part may be empty.
        has = [[*(index in g.classes for index in self.classes), True] for g in ranked]
        self._has = np.array(has, np.bool_)
        self._free = np.ones(len(ranked), np.bool_)
        self._n_free = self._has.sum(axis=0)  # groups of each class that are not drawn yet

    def n_free_images(self) -> int:
        """Number of images in groups that are not drawn yet."""
        return int(self._sizes[self._free].sum())

    def draw(self, room: int, *, keep: int, cover: bool) -> list[int]:
        """Draw groups with about `room` images together and return their indices.

        Args:
            keep: number of groups of every class that must stay in the pool.
            cover: True if every class must be drawn, even if that takes more images.
        """
        target = self._kinds[self._free].sum(axis=0) * room
        selection = _GroupSelection(room, self.n_free_images(), target, np.zeros_like(target))
        if cover:
            self._cover(selection, keep)
        queues = _GroupQueues(self._kinds, lambda index: self._is_eligible(index, keep, selection))
        while (index := self._most_needed(queues, selection)) is not None:
            self._add_group(index, selection)
        return selection.indices

    def _cover(self, selection: "_GroupSelection", keep: int) -> None:
        missing = []
        # Rarest first: a class with few groups must choose before common classes use them up. The
        # sort is stable, so that ties fall in the same order on every platform.
        for column in np.argsort(self._n_free, kind="stable"):
            if self._has[selection.indices, column].any():
                continue
            eligible = self._eligible_groups(keep)
            eligible = eligible[self._has[eligible, column]]
            fitting = eligible[self._sizes[eligible] <= selection.room]
            if len(fitting):
                self._add_group(self._best(fitting, selection), selection)
            elif len(eligible):
                self._add_group(int(eligible[np.argmin(self._sizes[eligible])]), selection)
            else:
                missing += self.classes[column : column + 1]
        if missing or not selection.indices:
            raise _ImpossibleError(missing)

    def _eligible_groups(self, keep: int) -> NDArray[np.int64]:
        """Groups that can be drawn: enough groups of their classes remain."""
        scarce = self._n_free <= keep
        return np.flatnonzero(self._free & ~self._has[:, scarce].any(axis=1))

    def _is_eligible(self, index: int, keep: int, selection: "_GroupSelection") -> bool:
        """True if a group can be drawn and fits."""
        is_scarce = (self._n_free <= keep)[self._has[index]].any()
        return bool(self._free[index] and self._sizes[index] <= selection.room and not is_scarce)

    def _most_needed(self, queues: "_GroupQueues", selection: "_GroupSelection") -> int | None:
        """Choose a group with the stratum that is furthest below its share; None if none fits."""
        missing = np.flatnonzero(selection.kinds * selection.n_before < selection.target_kinds)
        progress = [
            (Fraction(int(selection.kinds[k]), int(selection.target_kinds[k])), int(k))
            for k in missing
        ]
        for _, kind in sorted(progress):
            if few := queues.first(kind, _CHOICES):
                return self._best(np.array(few), selection)
        return next(iter(queues.first(None, 1)), None)

    def _best(self, eligible: NDArray[np.int64], selection: "_GroupSelection") -> int:
        """Choose the one of the first few groups that brings all strata closest to their shares."""
        few = eligible[:_CHOICES]
        # Cross-multiplied integers instead of shares: rounding of floats could break a tie
        # differently on another machine.
        after = (selection.kinds + self._kinds[few]) * selection.n_before
        return int(few[np.argmin(np.abs(selection.target_kinds - after).sum(axis=1))])

    def _add_group(self, index: int, selection: "_GroupSelection") -> None:
        self._free[index] = False
        self._n_free -= self._has[index]
        selection.indices.append(index)
        selection.room -= int(self._sizes[index])
        selection.kinds += self._kinds[index]


class _GroupQueues:
    """Groups that may be drawn, in order, of each stratum and of all.

    Within a draw the room and the numbers of free groups only fall, so a group that is not eligible
    never becomes so again and is dropped: a draw takes time in proportion to the groups.
    """

    def __init__(self, kinds: NDArray[np.int64], is_eligible: Callable[[int], bool]) -> None:
        self._is_eligible = is_eligible
        self._of_kind = [deque(np.flatnonzero(column).tolist()) for column in (kinds > 0).T]
        self._all = deque(range(len(kinds)))

    def first(self, kind: int | None, n: int) -> list[int]:
        """The first `n` eligible groups of a stratum, or of all."""
        queue, few = self._all if kind is None else self._of_kind[kind], list[int]()
        while queue and len(few) < n:
            index = queue.popleft()
            if self._is_eligible(index):
                few.append(index)
        queue.extendleft(reversed(few))
        return few


@dataclass
class _GroupSelection:
    """State of one draw: free room, images before it, target strata (times these), indices."""

    room: int
    n_before: int
    target_kinds: NDArray[np.int64]
    kinds: NDArray[np.int64]
    indices: list[int] = field(default_factory=list)


def _try_orders(
    groups: Sequence[ImageGroup],
    seed: int,
    data: StudyDataConfig,
    assign: Callable[[_GroupPool], _T],
) -> _T:
    """Try seeded orders of the groups and return the first possible assignment."""
    missing_classes: list[int] = []
    for attempt in range(_ATTEMPTS):
        try:
            return assign(_GroupPool(groups, f"{seed}.{attempt}" if attempt else f"{seed}"))
        except _ImpossibleError as error:
            missing_classes = error.classes
    names = ", ".join(repr(data.classes[index]) for index in missing_classes) or "an image"
    raise DataError(
        f"split: the groups cannot be divided so that each part has {names}; add images, or make "
        "smaller groups"
    )


def _check_enough(
    groups: Sequence[ImageGroup], n_parts: int, parts: str, data: StudyDataConfig
) -> None:
    if len(groups) < n_parts:
        raise DataError(
            "split: only one different image or group; a split needs at least one to train, one to "
            "val"
            if n_parts == 2
            else f"split: {count(len(groups), 'different image')} or "
            f"{plural('group', len(groups))}; {parts} needs one"
        )
    problems = []
    for index, name in enumerate(data.classes):
        holders = [group.name for group in groups if index in group.classes]
        if 0 < len(holders) < n_parts:
            problems.append(
                f"split: class {name!r} is in {len(holders)} different image or group only "
                f"({', '.join(holders[:3])}), and {parts} need it; add images, or take the class "
                "out of data.classes"
            )
    if problems:
        raise DataError("\n".join(problems))


def _bin_edges(shares: Sequence[float]) -> list[float]:
    """Lower edges of the bins of shares; images without foreground form a separate bin."""
    filled = sorted(share for share in shares if share > 0)
    # In a set, since with many equal shares two quantiles coincide, and a bin without width stays
    # empty.
    return sorted({filled[len(filled) * part // _BINS] for part in range(_BINS)} if filled else [])


def _hash_rank(seed: str, name: str) -> bytes:
    """Rank of a name by SHA-256: a library's random generator may change between versions."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()
