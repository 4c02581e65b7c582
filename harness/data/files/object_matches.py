"""Objects of a true mask and of a predicted one, matched one to one."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.data.files.decide import label_objects
from harness.data.files.object_labels import ObjectLabels

Bools = NDArray[np.bool_]

# Above one half each object has at most one match, so that no assignment is needed.
MIN_IOU: Final = 0.5


@dataclass(frozen=True, eq=False)
class ObjectMatches:
    """Objects of one class in one image.

    Attributes:
        true_areas: int64 (T,), pixels of each true object.
        is_found: bool (T,), True if a predicted object matches it.
        predicted_areas: int64 (P,), pixels of each predicted object.
        is_correct: bool (P,), True if a true object matches it.
    """

    true_areas: NDArray[np.int64]
    is_found: Bools
    predicted_areas: NDArray[np.int64]
    is_correct: Bools

    @property
    def counts(self) -> NDArray[np.int64]:
        """True positives, false positives, false negatives."""
        n_found = int(self.is_found.sum())
        return np.array([n_found, len(self.is_correct) - n_found, len(self.is_found) - n_found])


class TrueObjects:
    """Connected objects (8 neighbours) of a true mask, to compare predictions with.

    Args:
        truth: plane (H, W).
        counted: False for ignored pixels, which are taken out of both planes: an object that they
            cover vanishes, and no object is found or wrong because of them.
    """

    def __init__(self, truth: Bools, counted: Bools | None = None) -> None:
        self._counted = counted
        self.labels, self.areas = label_objects(truth if counted is None else truth & counted)

    def match(self, predicted: Bools) -> ObjectMatches:
        """Match them with the objects of a predicted plane whose IoU with them exceeds 0.5.

        Source:
            Kirillov et al. 2019, "Panoptic Segmentation": above an IoU of 0.5 each object has at
            most one match.
        """
        labels, areas = label_objects(
            predicted if self._counted is None else predicted & self._counted
        )
        return _match_labels(self.labels, self.areas, labels, areas)


class BandMatches:
    """Objects of two planes, matched as by `TrueObjects`, in bands from the top."""

    def __init__(self) -> None:
        self._true, self._predicted = ObjectLabels(), ObjectLabels()
        self._pairs: list[NDArray[np.int64]] = []  # (n, 3): true label, predicted label, pixels

    def add(self, truth: Bools, predicted: Bools) -> None:
        """Add rows (h, W) of both planes, without ignored pixels."""
        true_labels, predicted_labels = self._true.add(truth), self._predicted.add(predicted)
        both = truth & predicted
        keys = true_labels[both].astype(np.int64) << 32 | predicted_labels[both]
        pairs, overlap = np.unique(keys, return_counts=True)
        self._pairs.append(np.stack([pairs >> 32, pairs & (2**32 - 1), overlap], axis=1))

    def matches(self) -> ObjectMatches:
        """The objects of all bands."""
        true_numbers, true_areas = self._true.numbers()
        predicted_numbers, predicted_areas = self._predicted.numbers()
        rows = np.concatenate([*self._pairs, np.zeros((0, 3), np.int64)])
        first, second = true_numbers[rows[:, 0]], predicted_numbers[rows[:, 1]]
        pairs, positions = np.unique(first * len(predicted_areas) + second, return_inverse=True)
        overlap = np.zeros(len(pairs), np.int64)
        np.add.at(overlap, positions.reshape(-1), rows[:, 2])
        return _match_pairs(pairs, overlap, true_areas, predicted_areas)


def _match_labels(
    true_labels: NDArray[np.int32],
    true_areas: NDArray[np.int64],
    predicted_labels: NDArray[np.int32],
    predicted_areas: NDArray[np.int64],
) -> ObjectMatches:
    both = (true_labels > 0) & (predicted_labels > 0)
    keys = true_labels[both].astype(np.int64) * len(predicted_areas) + predicted_labels[both]
    pairs, overlap = _count_keys(keys, len(true_areas) * len(predicted_areas))
    return _match_pairs(pairs, overlap, true_areas, predicted_areas)


def _match_pairs(
    pairs: NDArray[np.int64],
    overlap: NDArray[np.int64],
    true_areas: NDArray[np.int64],
    predicted_areas: NDArray[np.int64],
) -> ObjectMatches:
    """Matches of pairs, true number x predicted areas + predicted number; index 0: background."""
    is_found, is_correct = np.zeros(len(true_areas), bool), np.zeros(len(predicted_areas), bool)
    first, second = np.divmod(pairs, len(predicted_areas))
    union = true_areas[first] + predicted_areas[second] - overlap
    matched = overlap > MIN_IOU * union
    is_found[first[matched]] = True
    is_correct[second[matched]] = True
    # Label 0 is the background.
    return ObjectMatches(true_areas[1:], is_found[1:], predicted_areas[1:], is_correct[1:])


def _count_keys(keys: NDArray[np.int64], n_keys: int) -> tuple[NDArray[np.int64], ...]:
    """Present keys below `n_keys` and their numbers of pixels."""
    if n_keys > len(keys):  # thousands of objects: a sort needs less memory than all their pairs
        pairs, overlap = np.unique(keys, return_counts=True)
        return pairs, overlap
    counts = np.bincount(keys, minlength=n_keys)
    pairs = np.flatnonzero(counts)
    return pairs, counts[pairs]


def f1_of_counts(counts: NDArray[np.int64]) -> float | None:
    """F1 of the sums of `ObjectMatches.counts`, in [0, 1]; None without any object."""
    tp, fp, fn = counts.tolist()
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None
