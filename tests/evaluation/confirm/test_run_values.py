"""Confirmations are decided by the objective itself, also where it is no mean over images."""

from pathlib import Path

import numpy as np
import pytest

from harness.config.study_files import read_study_config
from harness.core.records import read_record, write_record
from harness.training.metrics.image_scores import (
    ImageScores,
    ScoreEntry,
    read_scores,
    scores_from_entries,
    summarise_scores,
    write_scores,
)
from tests.evaluation.confirm.test_results import found, plan_of, spread
from tests.evaluation.confirming import N_IMAGES, a_search, begun, trained


@pytest.mark.parametrize("metric", ["val/dice_micro", "val/iou_micro"])
def test_an_objective_of_pooled_pixels_has_a_verdict(tmp_path: Path, metric: str) -> None:
    """Trial 1 finds 80 to 95 of the 100 pixels of each image, trial 2 finds 20 to 80."""
    paths = a_search(tmp_path, objective={"metric": metric, "direction": "maximize"}).paths
    plan = plan_of([1, 2], 2)
    begun(paths, plan)
    rng = np.random.default_rng(0)
    for number in range(4):
        trained(paths, plan, number, [0.5] * N_IMAGES)
        found_of = rng.integers(20, 80, N_IMAGES) if number % 2 else rng.integers(80, 95, N_IMAGES)
        write_scores(
            paths.confirm.trial(number).scores_csv,
            scores_from_entries(
                [
                    (row, f"{row}.png", 1, 1.0, 1.0, 1.0, int(tp), 0, 100 - int(tp), 900)
                    for row, tp in enumerate(found_of)
                ]
            ),
        )
    confirmation = found(paths)
    assert [(row.trial, row.verdict) for row in confirmation.rows] == [(1, "better"), (2, "worse")]
    assert confirmation.decision is not None
    pooled = []
    for number in (0, 2):
        scores = read_scores(paths.confirm.trial(number).scores_csv)
        pooled.append(summarise_scores(scores)[metric])
    assert confirmation.decision.ranked[0].mean == pytest.approx(np.mean(pooled))


def three_classes(road: float, pole: float, seed: int) -> ImageScores:
    """120 images; road and sky in all, a pole in one of six; soft Dice about those levels."""
    rng = np.random.default_rng(seed)
    entries: list[ScoreEntry] = []
    for row in range(120):
        for k, (level, size) in enumerate(((road, 5000.0), (road, 4000.0), (pole, 1000.0))):
            has = k < 2 or row % 6 == 0
            hit = float(np.clip(level + rng.normal(0, 0.03), 0.01, 0.99) * size) if has else 0.0
            sums = (hit, size if has else 1.0, size if has else 0.0)
            counts = (int(hit), int(sums[2] - hit), int(sums[2] - hit), 5000)
            entries.append((row, f"i{row:03d}.png", k, *sums, *counts))
    return scores_from_entries(entries)


@pytest.mark.parametrize("metric", ["val/dice_loss", "val/iou", "val/miou", "val/dice_micro"])
def test_several_classes_are_ranked_and_bounded_by_the_objective_itself(
    tmp_path: Path, metric: str
) -> None:
    """The rare class weighs a third of the objective, and in the mean over images hardly anything.

    Trial 1 is 2 points better in two classes and 30 worse in the rare one: worse by about 0.087.
    """
    data = {"task": "multiclass", "classes": ["road", "sky", "pole"]}
    paths = a_search(tmp_path, objective={"metric": metric}, data=data).paths
    plan = plan_of([1, 2], 3)
    begun(paths, plan)
    objective: dict[int, list[float]] = {1: [], 2: []}
    for number, run in enumerate(plan.runs):
        trained(paths, plan, number, [0.5] * N_IMAGES)
        levels = (0.95, 0.3) if run.trial == 1 else (0.93, 0.6)
        scores = three_classes(*levels, seed=number)
        write_scores(paths.confirm.trial(number).scores_csv, scores)
        value = summarise_scores(scores, read_study_config(paths).data)[metric]
        objective[run.trial].append(value)
        record = read_record(paths.confirm.trial(number).trial_json)
        write_record(paths.confirm.trial(number), record.model_copy(update={"value": value}))
    first, second = found(paths).rows
    assert [(first.trial, first.verdict), (second.trial, second.verdict)] == [
        (2, "better"),
        (1, "worse"),
    ]
    for row in (first, second):
        assert row.mean == pytest.approx(np.mean(objective[row.trial]))
        assert row.interval is not None
        assert row.interval.mean == pytest.approx(row.mean)
        assert row.interval.low < row.interval.mean < row.interval.high


def test_images_with_nothing_to_find_give_a_reason(tmp_path: Path) -> None:
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 2)
    begun(paths, plan)
    for number in range(4):
        trained(paths, plan, number, spread(0.3))
        nothing = scores_from_entries([(0, "a.png", 1, 0.0, 1.0, 0.0, 0, 1, 0, 99)])
        write_scores(paths.confirm.trial(number).scores_csv, nothing)
    confirmation = found(paths)
    assert confirmation.decision is None and confirmation.choice is None
    assert confirmation.sentence == (
        "no validation image has a value of val/dice_loss, so nothing can be compared"
    )


def test_scores_that_are_missing_are_named(tmp_path: Path) -> None:
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 2)
    begun(paths, plan)
    for number in range(4):
        trained(paths, plan, number, spread(0.3))
    paths.confirm.trial(2).scores_csv.unlink()
    confirmation = found(paths)
    assert confirmation.decision is None
    assert confirmation.reason.endswith(
        "scores.csv: is missing, so images cannot be compared; put it back"
    )
