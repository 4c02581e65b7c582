"""Connected objects of a plane, numbered in bands of rows: no labels of a whole picture."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.core.union_find import DisjointSet

Bools = NDArray[np.bool_]
Labels = NDArray[np.int32]
Counts = NDArray[np.int64]

BAND_PIXELS: Final = 1 << 22  # that are labelled together: an image up to 2048 x 2048 is one band
_LINK: Final = 32  # bits of a label in a pair of labels


class ObjectNumbers(NamedTuple):
    """Objects of a plane after its last band.

    Attributes:
        of_label: (labels,), number of the object of each label; 0: the background.
        areas: (objects + 1,), pixels of each object; 0 first, in place of the background.
    """

    of_label: Counts
    areas: Counts

    def sum_labels(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sums (objects, ...) of values (labels - 1, ...) without the background."""
        sums = np.zeros((len(self.areas) - 1, *values.shape[1:]), np.int64)
        np.add.at(sums, self.of_label[1:] - 1, values)
        return sums


class ObjectLabels:
    """Labels the connected objects of a plane (H, W), band by band from the top.

    Parts of an object that meet only in a later band have different labels; `numbers` joins them.
    Objects are numbered as by `label_objects` if bands begin at even rows.

    Args:
        connectivity: 8 or 4 neighbours.
    """

    def __init__(self, connectivity: int = 8) -> None:
        self._connectivity = connectivity
        self._n_labels = 1
        self._areas: list[Counts] = []
        self._links: list[Counts] = []  # lower label << 32 | higher label
        self._last_row: Labels | None = None

    def add(self, band: Bools) -> Labels:
        """Labels (h, W) of the next rows, 0 for the background."""
        n, stored = cv2.connectedComponents(
            np.ascontiguousarray(band).view(np.uint8), connectivity=self._connectivity
        )
        labels: Labels = np.asarray(stored, np.int32)
        self._areas.append(np.bincount(labels.ravel(), minlength=n)[1:])
        if self._n_labels > 1:
            labels += (labels > 0) * np.int32(self._n_labels - 1)
        self._n_labels += n - 1
        if self._last_row is not None:
            self._link(self._last_row, labels[0])
        self._last_row = labels[-1].copy()
        return labels

    @property
    def n_labels(self) -> int:
        """Number of labels so far, the background included."""
        return self._n_labels

    def numbers(self) -> ObjectNumbers:
        """Objects of all bands so far, ascending in their first labels."""
        roots = np.arange(self._n_labels)
        label_areas = np.concatenate([np.zeros(1, np.int64), *self._areas])
        if not self._links:
            return ObjectNumbers(roots, label_areas)
        links = np.unique(np.concatenate(self._links))
        pairs = np.stack([links >> _LINK, links & (2**_LINK - 1)], axis=1)
        ends, positions = np.unique(pairs, return_inverse=True)
        groups = DisjointSet(len(ends))
        for first, second in positions.reshape(-1, 2).tolist():
            groups.union(first, second)
        roots[ends] = ends[groups.representatives()]
        first_labels, of_label = np.unique(roots, return_inverse=True)
        areas = np.zeros(len(first_labels), np.int64)
        np.add.at(areas, of_label, label_areas)
        return ObjectNumbers(of_label, areas)

    def _link(self, above: Labels, below: Labels) -> None:
        """Note the labels of neighbours in two adjacent rows."""
        shifts = (-1, 0, 1) if self._connectivity == 8 else (0,)
        for shift in shifts:
            upper = above[max(0, -shift) : len(above) - max(0, shift)].astype(np.int64)
            lower = below[max(0, shift) : len(below) - max(0, -shift)].astype(np.int64)
            touch = (upper > 0) & (lower > 0)
            if touch.any():
                self._links.append(np.unique(upper[touch] << _LINK | lower[touch]))


def plane_bands(height: int, width: int) -> Iterator[slice]:
    """Rows of a plane that are labelled together, from the top; they begin at even rows."""
    rows = max(2, BAND_PIXELS // width // 2 * 2)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def object_numbers(plane: Bools) -> ObjectNumbers:
    """Objects (8 neighbours) of a plane (H, W), without labels for all of it."""
    labels = ObjectLabels()
    for rows in plane_bands(*plane.shape):
        labels.add(plane[rows])
    return labels.numbers()


def object_areas(plane: Bools) -> Counts:
    """Pixels of each object (8 neighbours) of a plane (H, W), without the background."""
    return object_numbers(plane).areas[1:]
