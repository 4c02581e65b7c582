"""The order that an objective gives to values and trials."""

import math

import pytest

from harness.config.objective import ObjectiveConfig
from harness.core.records import TrialRecord, TrialState

LOSS = ObjectiveConfig(metric="val/dice_loss", direction="minimize")
IOU = ObjectiveConfig(metric="val/iou", direction="maximize")


def trial(number: int, value: float | None, state: TrialState = "complete") -> TrialRecord:
    return TrialRecord(
        study="s", number=number, state=state, params={}, distributions={}, epochs=1, seed=0,
        value=value,
    )  # fmt: skip


RECORDS = [
    trial(0, 0.4),
    trial(1, 0.1, "pruned"),
    trial(2, 0.2),
    trial(3, 0.7),
    trial(4, 0.2),
    trial(5, 0.7),
    trial(6, math.nan),
    trial(7, None),
    trial(8, 0.9, "failed"),
]


@pytest.mark.parametrize(("objective", "order"), [(LOSS, [2, 4, 0, 3, 5]), (IOU, [3, 5, 0, 2, 4])])
def test_complete_trials_are_ranked_best_first_and_equal_ones_by_number(
    objective: ObjectiveConfig, order: list[int]
) -> None:
    assert [record.number for record in objective.ranked(reversed(RECORDS))] == order
    best = objective.best(RECORDS)
    assert best is not None and best.number == order[0]


def test_a_study_without_a_complete_trial_has_no_best_one() -> None:
    assert LOSS.best(RECORDS[1:2]) is None


def test_better_is_strict_and_follows_the_direction() -> None:
    assert LOSS.better(0.1, 0.2) and not LOSS.better(0.2, 0.1)
    assert IOU.better(0.2, 0.1) and not IOU.better(0.1, 0.2)
    assert not LOSS.better(0.2, 0.2) and not IOU.better(0.2, 0.2)
    assert sorted([0.1, 0.3, 0.2], key=IOU.sort_key) == [0.3, 0.2, 0.1]
