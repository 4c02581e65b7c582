"""Intervals of the leaderboard, and the leading weights against the next."""

import numpy as np
import pytest

from harness.evaluation.statistics.intervals import mean_interval
from harness.evaluation.statistics.paired_tests import holm_correction, paired_test
from harness.report.analysis.image_values import interval_metrics
from harness.report.analysis.paired_leaders import build_leaderboard_comparison
from harness.report.page.page import write_report
from harness.report.tables.sheets import ranking_sheet
from harness.report.tables.study_tables import load_study_tables
from harness.training.metrics.image_scores import ScoreEntry, scores_from_entries, write_scores
from tests.report.studies import Builder

N = 60


def dice_of(number: int, n: int = N) -> list[tuple[int, int]]:
    """tp and fp of each image: Dice is 2 tp / (tp + fp + 100)."""
    rng = np.random.default_rng(number)
    return [(int(tp), int(rng.integers(0, 20))) for tp in rng.integers(50 - 5 * number, 100, n)]


def filled(study: Builder, n_trials: int = 3, n: int = N) -> None:
    for number in range(n_trials):
        study.trial(number, [0.9, 0.1 + number / 20], {"optim.lr": 1e-4 * (number + 1)})
        entries: list[ScoreEntry] = [
            (row, f"i{row:03d}", 1, float(tp), float(tp + fp), 100.0, tp, fp, 100 - tp, 900)
            for row, (tp, fp) in enumerate(dice_of(number, n))
        ]
        write_scores(study.paths.trial(number).scores_csv, scores_from_entries(entries))


def by_hand(number: int) -> np.ndarray:
    return np.array([2 * tp / (tp + fp + 100) for tp, fp in dice_of(number)])


def test_leaderboard_has_intervals_behind_dice_and_iou(study: Builder) -> None:
    filled(study)
    tables = load_study_tables(study.paths)
    part = build_leaderboard_comparison(tables, ranking_sheet(tables))
    titles = [column.title for column in part.ranking.columns]
    assert titles.index("dice, 95 %") == titles.index("val/dice") + 1
    assert titles.index("iou, 95 %") == titles.index("val/iou") + 1
    for row in part.ranking.rows:
        found = mean_interval(by_hand(int(row[titles.index("trial")].text)))
        assert found is not None
        assert row[titles.index("dice, 95 %")].text == f"{found.low:.4f} to {found.high:.4f}"
    assert part.note == ""


def test_too_few_images_are_said_once(study: Builder) -> None:
    filled(study, n=49)
    tables = load_study_tables(study.paths)
    part = build_leaderboard_comparison(tables, ranking_sheet(tables))
    assert "fewer than 50 scored validation images are too few for an interval" in part.note
    assert not any("95 %" in column.title for column in part.ranking.columns)


def test_leading_trial_is_compared_with_the_next_on_the_same_images(study: Builder) -> None:
    filled(study)
    rows = build_leaderboard_comparison(
        load_study_tables(study.paths), ranking_sheet(load_study_tables(study.paths))
    ).sheet.rows
    soft = [
        np.array([1 - (2 * tp + 1) / (tp + fp + 101) for tp, fp in dice_of(number)])
        for number in range(3)
    ]
    tests = [paired_test(soft[0], soft[other]) for other in (1, 2)]
    assert [row[0].text for row in rows] == ["1", "2"]
    assert [float(row[1].order) for row in rows] == pytest.approx([t.difference for t in tests])
    assert [float(row[4].order) for row in rows] == pytest.approx([t.p for t in tests])
    assert [float(row[5].order) for row in rows] == pytest.approx(
        holm_correction([t.p for t in tests])
    )


def test_metrics_for_mlflow_are_the_ends_of_the_intervals(study: Builder) -> None:
    filled(study, n_trials=1)
    found = interval_metrics(load_study_tables(study.paths))[0]
    dice = mean_interval(by_hand(0))
    assert dice is not None and sorted(found) == [
        "best/dice_high", "best/dice_low", "best/iou_high", "best/iou_low"
    ]  # fmt: skip
    assert (found["best/dice_low"], found["best/dice_high"]) == pytest.approx((dice.low, dice.high))


def test_page_says_what_weights_and_traps_are(study: Builder) -> None:
    filled(study)
    page = write_report(study.paths, study.data_root, images=False).read_text(encoding="utf-8")
    assert "Comparison of these weights, image by image" in page
    assert (
        "so they do not compare configurations: each configuration was trained on one seed" in page
    )
    assert "Leading, not confirmed." in page


def test_page_without_scores_has_neither_intervals_nor_comparisons(study: Builder) -> None:
    study.trial(0, [0.9, 0.1], {"optim.lr": 1e-4})
    tables = load_study_tables(study.paths)
    part = build_leaderboard_comparison(tables, ranking_sheet(tables))
    assert part.sheet.rows == () and "too few for an interval" in part.note
    assert interval_metrics(tables) == {}
