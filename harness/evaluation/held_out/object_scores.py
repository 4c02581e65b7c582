"""Objects found and missed in an image, counted by their size: columns of a scores.csv."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.data.files.object_matches import ObjectMatches, TrueObjects
from harness.data.files.overlay import foreground_classes
from harness.evaluation.held_out.scores import MIN_OBJECT_PIXELS, class_pixels, counted_pixels

Columns = dict[str, float]

# Sides, px, of the square with the area of an object. Powers of two: the networks halve sizes.
SIDE_BOUNDS: Final = (8, 16, 32, 64, 128)
SIZE_CLASSES: Final = (
    "below 8 px",
    *(f"{low} to {high} px" for low, high in itertools.pairwise(SIDE_BOUNDS)),
    "above 128 px",
)
_KINDS: Final = ("true", "found", "predicted", "correct")


@dataclass(frozen=True)
class SizeClassCounts:
    """Objects of one size class: the true ones by their own size, the predicted ones by theirs."""

    name: str
    n_true: int
    n_found: int
    n_predicted: int
    n_correct: int

    @property
    def recall(self) -> float | None:
        """Share of the true objects that were found; None without any."""
        return self.n_found / self.n_true if self.n_true else None

    @property
    def precision(self) -> float | None:
        """Share of the predicted objects that match a true one; None without any."""
        return self.n_correct / self.n_predicted if self.n_predicted else None


def object_columns(
    decision: NDArray[np.uint8], mask: NDArray[np.uint8], data: StudyDataConfig
) -> list[Columns]:
    """Counts `objects_<kind>_<size class>` of each scored class; 0 for a background.

    Args:
        decision: decided classes (H, W), or planes (H, W, K) in multilabel tasks.
        mask: truth, likewise, with IGNORE_INDEX.
    """
    counted = counted_pixels(mask)
    return [
        matched_columns(
            TrueObjects(class_pixels(mask, index), counted).match(class_pixels(decision, index)),
            index,
            data,
        )
        if index in foreground_classes(data)
        else _zero_columns()
        for index in data.scored_classes
    ]


def matched_columns(matches: ObjectMatches, index: int, data: StudyDataConfig) -> Columns:
    """The columns of one class, as `object_columns`; zeros for a background."""
    if index not in foreground_classes(data):
        return _zero_columns()
    areas = (matches.true_areas, matches.predicted_areas)
    hits = (matches.is_found, matches.is_correct)
    counts = [
        _count_by_size(part)
        for area, hit in zip(areas, hits, strict=True)
        for part in (area, area[hit])
    ]
    return {
        _column(kind, k): float(numbers[k])
        for kind, numbers in zip(_KINDS, counts, strict=True)
        for k in _classes()
    }


def _zero_columns() -> Columns:
    return {_column(kind, k): 0.0 for kind in _KINDS for k in _classes()}


def sum_object_columns(columns: Mapping[str, NDArray[np.float64]]) -> list[SizeClassCounts]:
    """Sum the columns of a scores.csv over images and classes; [] if it has none.

    Size classes without any object are left out.
    """
    if _column(_KINDS[0], 0) not in columns:
        return []
    rows = [
        SizeClassCounts(name, *(int(columns[_column(kind, k)].sum()) for kind in _KINDS))
        for k, name in enumerate(SIZE_CLASSES)
    ]
    return [row for row in rows if row.n_true or row.n_predicted]


def sum_size_classes(tables: Sequence[Sequence[SizeClassCounts]]) -> list[SizeClassCounts]:
    """Add the counts of several runs, for example of several seeds."""
    sums = {name: np.zeros(4, np.int64) for name in SIZE_CLASSES}
    for table in tables:
        for row in table:
            sums[row.name] += (row.n_true, row.n_found, row.n_predicted, row.n_correct)
    return [SizeClassCounts(name, *total.tolist()) for name, total in sums.items() if total.any()]


def _classes() -> range:
    return range(len(SIZE_CLASSES))


def _column(kind: str, size_class: int) -> str:
    low = 0 if size_class == 0 else SIDE_BOUNDS[size_class - 1]
    return f"objects_{kind}_{low}"


def _count_by_size(areas: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of objects in each size class; specks are noise of JPEG masks and do not count."""
    areas = areas[areas >= MIN_OBJECT_PIXELS]
    squares = np.square(SIDE_BOUNDS)
    return np.bincount(np.searchsorted(squares, areas, side="right"), minlength=len(SIZE_CLASSES))
