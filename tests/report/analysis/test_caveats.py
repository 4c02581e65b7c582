"""Made-up studies with and without each trap."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.report.analysis import caveats
from harness.report.analysis.caveats import find_caveats, metric_order_caveat
from harness.report.tables.study_tables import load_study_tables
from harness.training.metrics.image_scores import ScoreEntry, scores_from_entries, write_scores
from tests.report.studies import Builder, repeated, with_values


def scored(study: Builder, number: int, losses: np.ndarray) -> None:
    """`scores.csv` with these Dice losses: 1 - (2 Σpy + 1) / (Σp + Σy + 1) for Σp = Σy = 100."""
    entries: list[ScoreEntry] = []
    for row, loss in enumerate(losses):
        sum_py = ((1 - float(loss)) * 201 - 1) / 2
        entries.append((row, f"i{row:04d}", 1, sum_py, 100.0, 100.0, 80, 20, 20, 880))
    write_scores(study.paths.trial(number).scores_csv, scores_from_entries(entries))


def test_a_quiet_study_has_no_trap(tmp_path: Path) -> None:
    study = Builder(tmp_path, n_images=22)
    for number, value in enumerate([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]):
        study.trial(number, [0.9, value, value + 0.1], {"optim.lr": 3e-4 * (1 + number)})
    assert caveats.find_caveats(load_study_tables(study.paths)) == []


def test_empty_study_has_no_trap(study: Builder) -> None:
    assert caveats.find_caveats(load_study_tables(study.paths)) == []


def test_differences_within_seed_noise_are_said_to_say_nothing(study: Builder) -> None:
    """Three configurations within 0.03; one of them alone varies by 0.02."""
    with_values(study, [0.200, 0.210])
    repeated(study, 2, [0.190, 0.230, 0.210])
    sentence = caveats.spread_within_noise(load_study_tables(study.paths))
    # the first of each: 0.200, 0.210, 0.190; s of the repeated one is 0.02 with 2 degrees
    p = stats.studentized_range.sf(0.02 / 0.02, 3, 2)
    assert sentence is not None and "All 3 complete configurations lie within 0.0200" in sentence
    assert f"(standard deviation 0.0200, from repeated configurations; p = {p:.2g})" in sentence


@pytest.mark.parametrize("state", ["failed", "pruned"])
def test_a_configuration_counts_though_its_first_trial_did_not_end(
    study: Builder, state: str
) -> None:
    """The third one is far ahead, and its first trial has no value that counts."""
    study.trial(0, [0.9], {"model.arch": "FPN"}, state=state)
    for number, (arch, loss) in enumerate(
        [("Unet", 0.300), ("Linknet", 0.302), ("Unet", 0.301), ("Linknet", 0.299), ("FPN", 0.1)],
        start=1,
    ):
        first = {"Unet": 1, "Linknet": 2, "FPN": 0}[arch]
        again = first if first < number else None
        study.trial(number, [loss], {"model.arch": arch}, repeats=again)
    assert caveats.spread_within_noise(load_study_tables(study.paths)) is None


def test_differences_beyond_seed_noise_are_no_trap(study: Builder) -> None:
    with_values(study, [0.100, 0.600])
    repeated(study, 2, [0.300, 0.301, 0.302])
    assert caveats.spread_within_noise(load_study_tables(study.paths)) is None


def test_without_any_repetition_noise_is_not_known(study: Builder) -> None:
    assert caveats.spread_within_noise(with_values(study, [0.2, 0.2001])) is None


def test_repetitions_that_agree_exactly(study: Builder) -> None:
    with_values(study, [0.2])
    repeated(study, 1, [0.3, 0.3])
    assert caveats.spread_within_noise(load_study_tables(study.paths)) is None


def test_images_that_tell_the_top_three_apart_are_no_trap(study: Builder) -> None:
    tables = with_values(study, [0.1, 0.2, 0.3])
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 60))
    for number, value in enumerate([0.1, 0.2, 0.3]):
        scored(study, number, value + noise[number])
    assert caveats.leaders_indistinguishable(tables) is None


def test_too_few_images_say_how_many_would_do(study: Builder) -> None:
    """Trials 0 and 1 differ by half a point on average, with a deviation of ten points."""
    tables = with_values(study, [0.1, 0.105, 0.5])
    differences = stats.zscore(np.random.default_rng(1).normal(size=60), ddof=1) * 0.1 + 0.005
    base = np.full(60, 0.3)
    scored(study, 0, base)
    scored(study, 1, base + differences)
    scored(study, 2, base + 0.4)
    sentence = caveats.leaders_indistinguishable(tables)
    assert sentence is not None
    assert sentence.startswith("60 validation images cannot separate the top 3 trials: between")
    assert "trials 0 and 1 the difference is 0.0050" in sentence
    # the paired t-test by the normal approximation, (1.96 + 0.8416)² = 7.849, times (sd / d)²
    own, point = map(
        int, re.findall(r"about (\d+) images .* \(0\.01\), about (\d+)\.", sentence)[0]
    )
    assert own == pytest.approx(7.849 * (0.1 / 0.005) ** 2, rel=0.01)
    assert point == pytest.approx(7.849 * (0.1 / 0.01) ** 2, rel=0.01)


@pytest.mark.parametrize(("n", "forecast"), [(19, False), (20, True)])
def test_fewer_than_20_values_forecast_nothing(study: Builder, n: int, forecast: bool) -> None:
    tables = with_values(study, [0.1, 0.105])
    noise = np.random.default_rng(0).normal(0, 0.05, (2, n))
    for number in (0, 1):
        scored(study, number, 0.3 + noise[number])
    sentence = caveats.leaders_indistinguishable(tables)
    assert sentence is not None and f"{n} validation images cannot separate" in sentence
    assert ("images would be needed" in sentence) == forecast


@pytest.mark.parametrize(("n_val", "said"), [(1, True), (19, True), (20, False)])
def test_below_20_validation_images_no_order_is_believed(
    tmp_path: Path, n_val: int, said: bool
) -> None:
    """One image of the builder trains, one is test."""
    study = Builder(tmp_path, n_images=n_val + 2)
    assert caveats.too_few_images_to_rank(with_values(study, [0.1])) is None
    sentence = caveats.too_few_images_to_rank(with_values(study, [0.1, 0.2]))
    assert (sentence is not None) == said
    verb = "image ranks" if n_val == 1 else "images rank"
    assert not said or f"{n_val} validation {verb} 2 trials; below 20" in str(sentence)


def test_a_study_in_folds_is_sent_to_confirm_on_folds(tmp_path: Path) -> None:
    study = Builder(tmp_path, config={"split": {"folds": 3}})
    sentence = caveats.too_few_images_to_rank(with_values(study, [0.1, 0.2]))
    assert sentence is not None and "harness confirm --study tiny --folds 5" in sentence


def test_one_validation_image_has_no_test_and_no_exception(study: Builder) -> None:
    tables = with_values(study, [0.1, 0.105])
    for number in (0, 1):
        scored(study, number, np.array([0.3 + number / 10]))
    assert caveats.leaders_indistinguishable(tables) is None


def test_trials_without_scores_cannot_be_compared(study: Builder) -> None:
    assert caveats.leaders_indistinguishable(with_values(study, [0.1, 0.2, 0.3])) is None


def test_trials_that_are_equal_in_every_image(study: Builder) -> None:
    tables = with_values(study, [0.3, 0.3])
    for number in (0, 1):
        scored(study, number, np.full(60, 0.3))
    sentence = caveats.leaders_indistinguishable(tables)
    assert sentence is not None and "more than a million images" in sentence


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
