"""Objects of a prediction, summed by size: every clean-up is evaluated without its pixels.

An object that is kept adds its pixels to its class. An object that is removed adds none in
two-class and multilabel tasks; in multiclass tasks each of its pixels goes to the most probable
other class. Objects are removed by their size alone, so sums by size give the counts of every
clean-up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.config.decision_rule import ClassDecision
from harness.data.files.decide import fill_holes, label_objects

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
        labels, areas = label_objects(fill_holes(predicted) if holes else predicted)
        is_used = counted & (labels > 0)
        label_of = labels[is_used]
        # One class, of index 0; a pixel outside the truth is of no class.
        pixels = _ObjectPixels(label_of, np.zeros(len(label_of), np.uint8), None, ~y[is_used])
        if len(areas) > 1:
            tables[0, holes] = _make_table(areas, pixels, 1)
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
    tables = {}
    for index in np.unique(best).tolist():
        plane = best == index
        labels, areas = label_objects(plane)
        is_used = plane & counted
        pixels = _ObjectPixels(*(array[is_used] for array in (labels, best, second, mask)))
        tables[index, False] = _make_table(areas, pixels, n_classes)
    truth = mask[counted]
    group = np.zeros(len(truth), np.int64)
    removed = _count_pixels(second[counted], truth, group, 1, n_classes)[0]
    return ImageObjects(np.bincount(truth, minlength=n_classes), removed, tables)


def rank_classes(p: NDArray[np.float32]) -> tuple[Array8, Array8]:
    """The most probable class of each pixel of (K, H, W), and the next one; ties: lowest index."""
    best = p.argmax(axis=0)
    others = p.copy()
    np.put_along_axis(others, best[None], -1.0, axis=0)
    return best.astype(np.uint8), others.argmax(axis=0).astype(np.uint8)


@dataclass(frozen=True)
class _ObjectPixels:
    """Counted pixels of objects, flat: number of the object, class if kept, if removed, of truth.

    `other` is None where a removed object leaves no class.
    """

    label: NDArray[np.int32]
    own: Array8
    other: Array8 | None
    truth: NDArray[np.uint8] | Bools

    def gains(self, group: NDArray[np.int64], n_groups: int, n_classes: int) -> Counts:
        """Counts (groups, classes, 2) if kept minus those if removed."""
        counts = _count_pixels(self.own, self.truth, group, n_groups, n_classes)
        if self.other is None:
            return counts
        return counts - _count_pixels(self.other, self.truth, group, n_groups, n_classes)

    def select(self, is_selected: Bools) -> "_ObjectPixels":
        other = None if self.other is None else self.other[is_selected]
        return _ObjectPixels(
            self.label[is_selected], self.own[is_selected], other, self.truth[is_selected]
        )


def _make_table(areas: Counts, pixels: _ObjectPixels, n_classes: int) -> ObjectTable:
    """Sum the objects of labels 1, 2, … with these areas (label 0 is the background)."""
    reached = np.searchsorted(SIZES, areas[1:], side="right")
    sizes, group_of_object = np.unique(reached, return_inverse=True)
    largest = 1 + int(areas[1:].argmax())
    of_largest = pixels.select(pixels.label == largest)
    zeros = np.zeros(len(of_largest.label), np.int64)
    return ObjectTable(
        sizes=sizes,
        gains=pixels.gains(group_of_object[pixels.label - 1], len(sizes), n_classes),
        largest_size=int(areas[largest]),
        largest=of_largest.gains(zeros, 1, n_classes)[0],
    )


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
