"""Counts from tables of objects equal those of the cleaned masks themselves."""

from itertools import product

import numpy as np
import pytest

from harness.config.data import IGNORE_INDEX
from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.data.files.decide import clean_plane, decide_mask, rank_classes
from harness.evaluation.decision.object_tables import (
    tabulate_classes,
    tabulate_plane,
)

CLEANUPS = [
    ClassDecision(fill_holes=holes, min_size=size, largest_only=largest)
    for holes, size, largest in product([False, True], [0, 4, 16, 64], [False, True])
]


@pytest.mark.parametrize("seed", range(25))
def test_counts_of_one_class_equal_those_of_the_cleaned_plane(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2)
    plane, y = (rng.random((height, width)) < rng.uniform(0.05, 0.7) for _ in range(2))
    counted = rng.random((height, width)) < 0.8
    objects = tabulate_plane(plane, y, counted)
    assert objects.true.tolist() == [int((y & counted).sum())]
    for entry in CLEANUPS:
        cleaned = clean_plane(plane, entry)
        expected = [int((cleaned & counted).sum()), int((cleaned & y & counted).sum())]
        assert objects.counts([entry])[0].tolist() == expected


@pytest.mark.parametrize("seed", range(25))
def test_counts_of_all_classes_equal_those_of_the_cleaned_map(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = (rng.integers(0, 6, (4, 25, 30)) / 5).astype(np.float32)
    p[3] *= seed % 2  # sometimes a class that is never decided
    mask = rng.integers(0, 4, (25, 30)).astype(np.uint8)
    mask[rng.random((25, 30)) < 0.2] = IGNORE_INDEX
    counted = mask != IGNORE_INDEX
    objects = tabulate_classes(*rank_classes(p), mask, counted, 4)
    for _ in range(10):
        entries = tuple(
            ClassDecision(
                min_size=int(rng.choice([0, 4, 8])), largest_only=bool(rng.random() < 0.3)
            )
            for _ in range(4)
        )
        decision = decide_mask(p, DecisionRule(task="multiclass", classes=entries))
        expected = [
            [int(((decision == k) & counted).sum()), int(((decision == k) & (mask == k)).sum())]
            for k in range(4)
        ]
        assert objects.counts(entries).tolist() == expected
    assert objects.true.tolist() == [int((mask == k).sum()) for k in range(4)]
