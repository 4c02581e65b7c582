"""Objects by size: by hand."""

import numpy as np
import pytest

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.evaluation.held_out.object_scores import (
    SizeClassCounts,
    object_columns,
    sum_object_columns,
    sum_size_classes,
)

BINARY = StudyDataConfig()
CLASSES = StudyDataConfig(task="multiclass", classes=("background", "a", "b"), ignore_index=255)


def summed(*columns: dict[str, float]) -> list[SizeClassCounts]:
    return sum_object_columns({name: np.array([c[name] for c in columns]) for name in columns[0]})


def test_true_and_predicted_objects_count_by_their_own_size() -> None:
    """Found: 10 x 10, predicted as 9 x 10; missed: 20 x 20; wrong: 7 x 7; specks do not count."""
    truth, decision = np.zeros((80, 80), np.uint8), np.zeros((80, 80), np.uint8)
    truth[2:12, 2:12], decision[2:11, 2:12] = 1, 1
    truth[30:50, 30:50] = 1
    decision[60:67, 60:67] = 1
    truth[70, 2:6], decision[75, 20:24] = 1, 1
    (columns,) = object_columns(decision, truth, BINARY)
    assert summed(columns) == [
        SizeClassCounts("below 8 px", 0, 0, 1, 0),
        SizeClassCounts("8 to 16 px", 1, 1, 1, 1),
        SizeClassCounts("16 to 32 px", 1, 0, 0, 0),
    ]
    small, middle, large = summed(columns, columns)
    assert (small.recall, small.precision) == (None, 0.0)
    assert (middle.recall, middle.precision) == (1.0, 1.0)
    assert (large.recall, large.precision, large.n_true) == (0.0, None, 2)


def test_bounds_belong_to_the_larger_class() -> None:
    for side, name in ((7, "below 8 px"), (8, "8 to 16 px"), (128, "above 128 px")):
        truth = np.zeros((140, 140), np.uint8)
        truth[:side, :side] = 1
        (columns,) = object_columns(truth, truth, BINARY)
        assert summed(columns) == [SizeClassCounts(name, 1, 1, 1, 1)]


def test_background_is_no_object_and_ignored_pixels_do_not_count() -> None:
    truth, decision = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    truth[:, :20], decision[:, :20] = 1, 1
    truth[:, 20:30], decision[:, 20:30] = IGNORE_INDEX, 2
    columns = object_columns(decision, truth, CLASSES)
    assert len(columns) == 3 and not any(columns[0].values())
    assert summed(*columns) == [SizeClassCounts("16 to 32 px", 1, 1, 1, 1)]


def test_scores_of_earlier_versions_have_no_objects() -> None:
    assert sum_object_columns({"height": np.ones(3)}) == []


def test_sums_of_runs() -> None:
    runs = [
        [SizeClassCounts("16 to 32 px", 4, 3, 5, 3)],
        [SizeClassCounts("16 to 32 px", 4, 1, 1, 1)],
    ]
    (row,) = sum_size_classes(runs)
    assert row == SizeClassCounts("16 to 32 px", 8, 4, 6, 4)
    assert row.recall == 0.5 and row.precision == pytest.approx(4 / 6)
