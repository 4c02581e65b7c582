import csv
import math
from pathlib import Path

import numpy as np
import pytest

from harness.core.paths import StudyPaths
from harness.core.records import read_record, write_record
from harness.evaluation.confirm.plan import ConfirmationPlan, PlannedRun
from harness.evaluation.confirm.ranking_csv import write_ranking_csv
from harness.evaluation.confirm.results import Confirmation, build_champion, load_confirmation
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
        "3 of 4 confirming trials have ended; harness confirm --study tiny goes on"
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
