"""Objects of a prediction, summed by size: every clean-up is evaluated without its pixels.

An object that is kept adds its pixels to its class. An object that is removed adds none in
two-class and multilabel tasks; in multiclass tasks each of its pixels goes to the most probable
other class. Objects are removed by their size alone, so sums by size give the counts of every
clean-up.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.config.decision_rule import ClassDecision
from harness.data.files.decide import fill_holes
from harness.data.files.object_labels import ObjectLabels, plane_bands

Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]
Array8 = NDArray[np.uint8]

# Powers of two: a step of the size matters by its factor, as areas spread over decades.
SIZES: Final = tuple(2**k for k in range(2, 25))


@dataclass(frozen=True)
class ObjectTable:
    """Objects of one class in one image. Counts are pairs: predicted pixels, and those that hit.

    Attributes:
        sizes: shape (b,), ascending numbers of sizes in SIZES that the objects of a row reach.
        gains: shape (b, classes, 2), counts if these objects are kept minus those if removed.
        largest_size: pixels of the largest object; 0 without objects.
        largest: shape (classes, 2), the gain of the largest object.
    """

    sizes: NDArray[np.int64]
    gains: Counts
    largest_size: int
    largest: Counts

    def count_kept(self, entry: ClassDecision) -> Counts:
        """Shape (classes, 2): gains of the objects that `min_size` and `largest_only` keep.

        `min_size` must be in SIZES, or at most 1.
        """
        if entry.largest_only:
            return self.largest * (self.largest_size >= entry.min_size)
        needed = np.searchsorted(SIZES, entry.min_size, side="right")
        return np.asarray(self.gains[self.sizes >= needed].sum(axis=0))


@dataclass(frozen=True)
class ImageObjects:
    """Objects of the classes that are decided together: one, or all of a multiclass task.

    Attributes:
        true: shape (classes,), pixels of the truth.
        removed: shape (classes, 2), counts if every object was removed.
        tables: by index of the class and `fill_holes`; classes without objects have none.
    """

    true: Counts
    removed: Counts
    tables: Mapping[tuple[int, bool], ObjectTable]

    def counts(self, entries: Iterable[ClassDecision]) -> Counts:
        """Shape (classes, 2): predicted pixels and hits under a clean-up."""
        total = self.removed.copy()
        for index, entry in enumerate(entries):
            total += self.class_counts(index, entry)
        return total

    def class_counts(self, index: int, entry: ClassDecision) -> Counts:
        """Shape (classes, 2): the part of the counts that depends on the objects of one class."""
        table = self.tables.get((index, entry.fill_holes))
        return np.zeros_like(self.removed) if table is None else table.count_kept(entry)


def tabulate_plane(predicted: Bools, y: Bools, counted: Bools) -> ImageObjects:
    """Tabulate one class that is decided by itself; all arrays have shape (H, W).

    Args:
        predicted: decision by the threshold alone.
        y: truth.
        counted: False for ignored pixels, which belong to objects but to no count.
    """
    tables = {}
    for holes in (False, True):
        plane = fill_holes(predicted) if holes else predicted
        # One class, of index 0; a pixel outside the truth is of no class.
        table = _tabulate_objects(
            plane,
            counted,
            lambda rows, is_used: _Pixels(
                np.zeros(int(is_used.sum()), np.uint8), None, ~y[rows][is_used]
            ),
            1,
        )
        if table is not None:
            tables[0, holes] = table
    true = np.array([int((y & counted).sum())])
    return ImageObjects(true, np.zeros((1, 2), np.int64), tables)


def tabulate_classes(
    best: Array8, second: Array8, mask: Array8, counted: Bools, n_classes: int
) -> ImageObjects:
    """Tabulate the classes of a multiclass task; all arrays have shape (H, W).

    Args:
        best, second: most probable class of each pixel, and the next one.
        mask: class of the truth; any value where `counted` is False.
    """

    def pixels(rows: slice, is_used: Bools) -> _Pixels:
        return _Pixels(*(array[rows][is_used] for array in (best, second, mask)))

    tables = {}
    for index in np.unique(best).tolist():
        table = _tabulate_objects(best == index, counted, pixels, n_classes)
        assert table is not None, "a class of some pixels has an object"
        tables[index, False] = table
    true, removed = np.zeros(n_classes, np.int64), np.zeros((n_classes, 2), np.int64)
    for rows in plane_bands(*mask.shape):
        is_used = counted[rows]
        truth, group = mask[rows][is_used], np.zeros(int(is_used.sum()), np.int64)
        true += np.bincount(truth, minlength=n_classes)
        removed += _count_pixels(second[rows][is_used], truth, group, 1, n_classes)[0]
    return ImageObjects(true, removed, tables)


@dataclass(frozen=True)
class _Pixels:
    """Counted pixels of objects, flat: class if the object is kept, if removed, of the truth.

    `other` is None where a removed object leaves no class.
    """

    own: Array8
    other: Array8 | None
    truth: NDArray[np.uint8] | Bools

    def gains(self, group: NDArray[np.int64], n_groups: int, n_classes: int) -> Counts:
        """Counts (groups, classes, 2) if kept minus those if removed."""
        counts = _count_pixels(self.own, self.truth, group, n_groups, n_classes)
        if self.other is None:
            return counts
        return counts - _count_pixels(self.other, self.truth, group, n_groups, n_classes)


def _tabulate_objects(
    plane: Bools, counted: Bools, read: Callable[[slice, Bools], _Pixels], n_classes: int
) -> ObjectTable | None:
    """Sum the objects of a plane (H, W) in bands; None without any.

    Args:
        read: the pixels of some rows of the plane that are chosen there.
    """
    labels, gains = ObjectLabels(), []
    for rows in plane_bands(*plane.shape):
        first = labels.n_labels
        band = labels.add(plane[rows])
        is_used = counted[rows] & plane[rows]
        group = band[is_used].astype(np.int64) - first
        gains.append(read(rows, is_used).gains(group, labels.n_labels - first, n_classes))
    numbers = labels.numbers()
    if len(numbers.areas) == 1:
        return None
    return _make_table(numbers.areas[1:], numbers.sum_labels(np.concatenate(gains)))


def _make_table(areas: Counts, gains: Counts) -> ObjectTable:
    """Table of objects with these areas (objects,) and gains (objects, classes, 2)."""
    reached = np.searchsorted(SIZES, areas, side="right")
    sizes, group_of_object = np.unique(reached, return_inverse=True)
    sums = np.zeros((len(sizes), *gains.shape[1:]), np.int64)
    np.add.at(sums, group_of_object, gains)
    largest = int(areas.argmax())
    return ObjectTable(sizes, sums, int(areas[largest]), gains[largest])


def _count_pixels(
    decided: Array8,
    truth: NDArray[np.uint8] | Bools,
    group: NDArray[np.int64],
    n_groups: int,
    n_classes: int,
) -> Counts:
    """Shape (groups, classes, 2): pixels decided as each class, and those of them that hit."""
    key = group * n_classes + decided
    counts = [
        np.bincount(keys, minlength=n_groups * n_classes) for keys in (key, key[decided == truth])
    ]
    return np.stack(counts, axis=1).reshape(n_groups, n_classes, 2)
