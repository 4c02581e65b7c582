from pathlib import Path
from typing import Any

import pytest

from harness.report.analysis.caveats import find_caveats
from harness.report.orders import metric_order_caveat
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder


def ranked(study: Builder, *rows: tuple[float, float, float], iou: str = "iou") -> str | None:
    """Trials with this objective, Dice and IoU."""
    for number, (value, dice, other) in enumerate(rows):
        best = {"best/dice": dice, f"best/{iou}": other}
        study.trial(number, [value], {"optim.lr": 1e-5 * (number + 1)}, best=best)
    return metric_order_caveat(load_study_tables(study.paths))


def test_orders_that_differ_are_both_given(study: Builder) -> None:
    sentence = ranked(study, (0.20, 0.81, 0.70), (0.21, 0.84, 0.69), (0.22, 0.80, 0.60))
    assert sentence is not None
    assert (
        "By val/dice_loss, the objective, it is trials 0, 1, 2; by val/dice trials 1, 0, 2. "
        in sentence
    )
    assert "val/iou" not in sentence  # there the order is the same
    assert sentence in find_caveats(load_study_tables(study.paths))


def test_metrics_that_agree_with_each_other_stand_together(study: Builder) -> None:
    sentence = ranked(study, (0.20, 0.81, 0.70), (0.21, 0.84, 0.72))
    assert sentence is not None and "; by val/dice and val/iou trials 1, 0. " in sentence


def test_the_same_order_is_no_caveat(study: Builder) -> None:
    assert ranked(study, (0.20, 0.84, 0.70), (0.21, 0.81, 0.69)) is None


def test_a_difference_that_is_rounding_is_no_caveat(study: Builder) -> None:
    assert ranked(study, (0.20, 0.8400, 0.70), (0.21, 0.8405, 0.69)) is None


def test_the_best_by_the_other_metric_is_found_behind_the_first_five(study: Builder) -> None:
    rows = [(0.2 + 0.01 * n, 0.8 - 0.01 * n, 0.7 - 0.01 * n) for n in range(6)]
    sentence = ranked(study, *rows, (0.9, 0.95, 0.1))
    assert sentence is not None and "by val/dice trials 6, 0, 1, 2, 3." in sentence


@pytest.mark.parametrize(
    ("objective", "data", "iou", "words"),
    [
        ("val/dice", {}, "iou", "by val/iou trials 1, 0."),
        (
            "val/dice_loss",
            {"task": "multiclass", "classes": ["a", "b", "c"]},
            "miou",
            "by val/miou trials 1, 0.",
        ),
    ],
)
def test_another_objective_and_several_classes(
    tmp_path: Path, objective: str, data: dict[str, Any], iou: str, words: str
) -> None:
    config = {
        "objective": {"metric": objective},
        "data": {"root": "tiny", "eval_size": 32} | data,
    }
    study = Builder(tmp_path, config=config)
    values = (0.8, 0.7) if objective == "val/dice" else (0.2, 0.3)
    sentence = ranked(study, (values[0], 0.8, 0.5), (values[1], 0.7, 0.6), iou=iou)
    assert sentence is not None and words in sentence and f"By {objective}" in sentence


def test_nothing_to_compare_is_no_caveat(study: Builder) -> None:
    assert metric_order_caveat(load_study_tables(study.paths)) is None
    assert ranked(study, (0.2, 0.8, 0.7)) is None
    study.trial(1, [0.3], best={})
    assert metric_order_caveat(load_study_tables(study.paths)) is None
