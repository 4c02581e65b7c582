import csv
import math
from pathlib import Path

import numpy as np
import pytest

from harness.config.study_files import read_study_config
from harness.core.paths import StudyPaths
from harness.core.records import read_record, write_record
from harness.evaluation.confirm.load_confirmation import (
    build_champion,
    build_entries,
    load_confirmation,
)
from harness.evaluation.confirm.plan import ConfirmationPlan, PlannedRun
from harness.evaluation.confirm.results import Confirmation, write_ranking_csv
from harness.training.metrics.image_scores import (
    ImageScores,
    ScoreEntry,
    read_scores,
    scores_from_entries,
    summarise_scores,
    write_scores,
)
from tests.evaluation.confirming import N_IMAGES, a_search, begun, failed, trained


def plan_of(trials: list[int], parts: int, **more: int | None) -> ConfirmationPlan:
    order = [(trial, part) for part in range(parts) for trial in trials]
    runs = tuple(PlannedRun(trial=t, part=p, seed=1000 + i) for i, (t, p) in enumerate(order))
    kind: dict[str, int | None] = {"seeds": parts} | more
    return ConfirmationPlan(top=len(trials), runs=runs, **kind)  # type: ignore[arg-type]


def spread(mean: float, seed: int = 0) -> list[float]:
    """Losses of N_IMAGES images with exactly that mean."""
    noise = np.random.default_rng(seed).uniform(-0.05, 0.05, N_IMAGES)
    return list(mean + noise - noise.mean())


def found(paths: StudyPaths) -> Confirmation:
    confirmation = load_confirmation(paths)
    assert confirmation is not None
    return confirmation


def test_no_confirmation_is_none(tmp_path: Path) -> None:
    assert load_confirmation(a_search(tmp_path).paths) is None


def test_means_optimism_and_deviation_by_hand(tmp_path: Path) -> None:
    """Trial 1: 0.20 in the search, 0.26, 0.28 and 0.30 again: mean 0.28, s = 0.02."""
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 3)
    begun(paths, plan)
    for number, loss in enumerate([0.26, 0.40, 0.28, 0.41, 0.30, 0.42]):
        trained(paths, plan, number, spread(loss), seconds=2.0 + number)
    confirmation = found(paths)
    first, second = confirmation.rows
    assert (first.trial, first.searched) == (1, 0.20)
    assert first.values == pytest.approx([0.26, 0.28, 0.30])
    assert first.mean == pytest.approx(0.28)
    assert first.deviation == pytest.approx(0.02)
    assert first.optimism == pytest.approx(0.08)
    assert second.optimism == pytest.approx(0.41 - 0.25)
    assert (first.cost.parameters, first.cost.seconds) == (2_000_000, pytest.approx(4.0))
    assert (first.verdict, second.verdict) == ("better", "worse")
    assert first.interval is not None
    assert first.interval.low < 0.28 < first.interval.high
    assert confirmation.sentence.startswith("trial 1 is better than every other")
    assert confirmation.choice == first


def test_optimism_where_more_is_better(tmp_path: Path) -> None:
    """Dice 0.20 in the search (the builder's values), 0.15 again: 0.05 too optimistic."""
    objective = {"metric": "val/dice", "direction": "maximize"}
    paths = a_search(tmp_path, objective=objective).paths
    plan = plan_of([1], 2)
    begun(paths, plan)
    for number in range(2):
        trained(paths, plan, number, [0.15] * N_IMAGES)
    (row,) = found(paths).rows
    assert row.optimism == pytest.approx(0.05)


def test_of_the_tied_the_smallest_is_the_choice(tmp_path: Path) -> None:
    """Trial 2 has the better mean and more parameters than trial 1; seeds differ by much more."""
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 2)
    begun(paths, plan)
    for number, loss in enumerate([0.21, 0.20, 0.31, 0.30]):
        trained(paths, plan, number, spread(loss))
    confirmation = found(paths)
    assert [row.trial for row in confirmation.rows] == [2, 1]
    assert {row.verdict for row in confirmation.rows} == {"tied"}
    assert confirmation.choice is not None and confirmation.choice.trial == 1
    assert "tied" in confirmation.sentence and "trial 1 (2.00 M" in confirmation.sentence


def test_weights_are_the_best_seed_but_the_first_fold(tmp_path: Path) -> None:
    for name, plan in (("a", plan_of([1], 3)), ("b", plan_of([1], 3, seeds=None, folds=3))):
        paths = a_search(tmp_path / name).paths
        begun(paths, plan)
        for number, loss in enumerate([0.3, 0.2, 0.4]):
            trained(paths, plan, number, spread(loss))
        weights = found(paths).weights
        assert weights is not None
        assert weights.number == {"a": 1, "b": 0}[name]


def test_unfinished_is_told_and_not_ranked(tmp_path: Path) -> None:
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 2)
    begun(paths, plan)
    for number in range(3):
        trained(paths, plan, number, spread(0.3))
    confirmation = found(paths)
    assert (confirmation.ended, confirmation.wanted) == (3, 4)
    assert confirmation.decision is None and confirmation.choice is None
    assert confirmation.sentence == (
        "3 of 4 confirming trials have ended; continue with harness confirm --study tiny"
    )
    assert build_champion(paths, confirmation) is None


def test_a_failed_run_is_left_out_and_counted(tmp_path: Path) -> None:
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 3)
    begun(paths, plan)
    for number, loss in enumerate([0.2, 0.5, 0.22, 0.52]):
        trained(paths, plan, number, spread(loss))
    failed(paths, plan, 4)
    trained(paths, plan, 5, spread(0.51))
    first, second = found(paths).rows
    assert (first.trial, len(first.values), first.mean) == (1, 2, pytest.approx(0.21))
    assert (second.verdict, len(second.values)) == ("worse", 3)


def test_a_configuration_that_failed_but_once_is_not_compared(tmp_path: Path) -> None:
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2, 0], 2)
    begun(paths, plan)
    for number, loss in enumerate([0.1, 0.5, 0.3]):
        trained(paths, plan, number, spread(loss))
    failed(paths, plan, 3)
    for number, loss in ((4, 0.52), (5, 0.31)):
        trained(paths, plan, number, spread(loss))
    confirmation = found(paths)
    assert [(row.trial, row.verdict) for row in confirmation.rows][-1] == (1, "")
    assert confirmation.choice is not None and confirmation.choice.trial != 1


def test_folds_have_images_of_their_own(tmp_path: Path) -> None:
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 3, seeds=None, folds=3)
    begun(paths, plan)
    for number, loss in enumerate([0.2, 0.5, 0.22, 0.52, 0.21, 0.51]):
        trained(paths, plan, number, spread(loss, seed=number // 2))
    confirmation = found(paths)
    assert confirmation.kind == "fold"
    assert [row.verdict for row in confirmation.rows] == ["better", "worse"]


def test_of_tied_ones_of_one_size_the_best_mean_is_the_champion(tmp_path: Path) -> None:
    """All of one network; the leader trained for the longest time."""
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 2)
    begun(paths, plan)
    for number, loss in enumerate([0.21, 0.20, 0.31, 0.30]):
        trained(paths, plan, number, spread(loss), seconds=147 if number % 2 else 144)
        record = read_record(paths.confirm.trial(number).trial_json)
        costs = dict(record.costs) | {"cost/parameters": 2.35e6, "cost/gflops": 1.5}
        write_record(paths.confirm.trial(number), record.model_copy(update={"costs": costs}))
    confirmation = found(paths)
    assert {row.verdict for row in confirmation.rows} == {"tied"}
    champion = build_champion(paths, confirmation)
    assert champion is not None and champion.search_number == 2
    assert "trial 2 (2.35 M parameters, 1.5 GFLOPs) has the best mean" in champion.sentence


def test_ranking_csv_holds_every_number_exactly(tmp_path: Path) -> None:
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 2)
    begun(paths, plan)
    for number, loss in enumerate([0.21, 0.45, 0.23, 0.47]):
        trained(paths, plan, number, spread(loss))
    confirmation = found(paths)
    write_ranking_csv(paths, confirmation)
    with paths.confirm.ranking_csv.open(encoding="utf-8", newline="") as handle:
        first, second = csv.DictReader(handle)
    row = confirmation.rows[0]
    assert row.interval is not None
    assert (first["rank"], first["trial"], first["choice"]) == ("1", "1", "yes")
    assert float(first["confirmed"]) == row.mean
    assert float(first["optimism"]) == row.optimism
    assert float(first["low"]) == row.interval.low
    assert second["choice"] == "no"


def test_own_sizes_stand_beside_the_ranking(tmp_path: Path) -> None:
    """Of the two runs of trial 1 only one has been measured; of trial 2 none."""
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 2)
    begun(paths, plan)
    for number, loss in enumerate([0.21, 0.45, 0.23, 0.47]):
        trained(paths, plan, number, spread(loss))
    measured = paths.confirm.trial(2)
    lines = ["row,image,class,sum_py,sum_p,sum_y,tp,fp,fn,tn"]
    lines += ["0,a.png,1,1,1,1,3,1,1,5", "1,b.png,1,1,1,1,2,0,0,8"]
    measured.native_size_csv.write_text("\n".join(lines) + "\n")
    first, second = found(paths).rows
    assert first.own == {"dice": (6 / 8 + 1) / 2, "iou": (3 / 5 + 1) / 2}
    assert second.own == {}
    write_ranking_csv(paths, found(paths))
    with paths.confirm.ranking_csv.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["own_dice"], row["own_iou"]) for row in rows] == [("0.875", "0.8"), ("", "")]


def test_champion_says_what_goes_into_mlflow(tmp_path: Path) -> None:
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 2)
    begun(paths, plan)
    for number, loss in enumerate([0.23, 0.45, 0.21, 0.47]):
        trained(paths, plan, number, spread(loss))
    champion = build_champion(paths, found(paths))
    assert champion is not None
    assert (champion.number, champion.search_number) == (2, 1)
    assert champion.metrics["confirm/mean"] == pytest.approx(0.22)
    assert champion.metrics["confirm/optimism"] == pytest.approx(0.02)
    assert champion.metrics["confirm/deviation"] == pytest.approx(0.02 / math.sqrt(2))
    assert champion.ended_at == "2026-11-20T10:03:00.000+00:00"


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
        "no validation image has a value of val/dice_loss, so configurations cannot be compared"
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
        "scores.csv: missing, so images cannot be compared; restore the file"
    )


def test_each_compared_configuration_becomes_an_entry_of_mlflow(tmp_path: Path) -> None:
    """Trial 3 has one complete run: no verdict, no entry."""
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2, 3], 2)
    begun(paths, plan)
    for number, loss in enumerate([0.40, 0.22, 0.30, 0.38, 0.24]):
        trained(paths, plan, number, spread(loss))
    failed(paths, plan, 5)
    best, second = build_entries(paths, found(paths))
    assert (best.search_number, best.number, best.n_runs) == (2, 1, 2)
    assert (best.verdict, best.is_choice) == ("better", True)
    assert (second.search_number, second.number) == (1, 3)
    assert (second.verdict, second.is_choice) == ("worse", False)
    assert second.metrics["confirm/mean"] == pytest.approx(0.39)
    assert best.metrics["confirm/low"] < 0.23 < best.metrics["confirm/high"]
