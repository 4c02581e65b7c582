"""Made-up studies with and without each trap."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.report.analysis import caveats
from harness.report.tables.study_tables import StudyTables, load_study_tables
from harness.training.metrics.image_scores import ScoreEntry, scores_from_entries, write_scores
from tests.report.studies import Builder

RATE = {"optim.lr": 1e-3}


def with_values(study: Builder, values: list[float], **more: Any) -> StudyTables:
    """Complete trials whose last epoch is their best; each a configuration of its own."""
    for number, value in enumerate(values):
        params = {"optim.lr": 1e-3 + number * 1e-6}
        study.trial(number, [0.9, 0.8, 0.7, value], params, **more)
    return load_study_tables(study.paths)


def repeated(study: Builder, start: int, values: list[float]) -> None:
    """One configuration on several seeds: what the noise is told from."""
    for number, value in enumerate(values, start=start):
        repeats = None if number == start else start
        study.trial(number, [0.9, value], {"optim.lr": 9e-3}, repeats=repeats)


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
    assert sentence.startswith("60 validation images cannot tell the top 3 trials apart: between")
    assert "trials 0 and 1 the difference is 0.0050" in sentence
    # the paired t-test by the normal approximation, (1.96 + 0.8416)² = 7.849, times (sd / d)²
    own, point = map(int, re.findall(r"about (\d+) images .* \(0\.01\) about (\d+)\.", sentence)[0])
    assert own == pytest.approx(7.849 * (0.1 / 0.005) ** 2, rel=0.01)
    assert point == pytest.approx(7.849 * (0.1 / 0.01) ** 2, rel=0.01)


@pytest.mark.parametrize(("n", "forecast"), [(19, False), (20, True)])
def test_fewer_than_20_values_forecast_nothing(study: Builder, n: int, forecast: bool) -> None:
    tables = with_values(study, [0.1, 0.105])
    noise = np.random.default_rng(0).normal(0, 0.05, (2, n))
    for number in (0, 1):
        scored(study, number, 0.3 + noise[number])
    sentence = caveats.leaders_indistinguishable(tables)
    assert sentence is not None and f"{n} validation images cannot tell" in sentence
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


def test_best_epochs_at_the_end_ask_for_longer_training(study: Builder) -> None:
    tables = with_values(study, [0.1, 0.2, 0.3, 0.4])
    sentence = caveats.training_too_short(tables)
    assert sentence is not None and "the last one in 4 of 4 complete trials" in sentence


def test_best_epochs_before_the_end_do_not(study: Builder) -> None:
    with_values(study, [0.1, 0.2, 0.3])
    for number in (3, 4):
        study.trial(number, [0.9, 0.2, 0.3, 0.4], RATE)
    assert caveats.training_too_short(load_study_tables(study.paths)) is None


def test_trials_that_were_stopped_early_tell_nothing_of_longer_training(study: Builder) -> None:
    for number in range(6):
        study.trial(number, [0.9, 0.2 + number / 100], RATE, planned=4)
    assert caveats.training_too_short(load_study_tables(study.paths)) is None


@pytest.mark.parametrize(
    ("rates", "side"),
    [
        ([9.9e-3, 9.8e-3, 9.9e-3, 1e-3, 1e-3, 1e-4, 1e-4], "optim.lr (upper end 0.01"),
        ([1.01e-5, 1.1e-5, 1e-5, 1e-3, 1e-3, 1e-4, 1e-4], "optim.lr (lower end 1e-05"),
        ([1e-3, 9.9e-3, 9.9e-3, 9.9e-3, 9.9e-3, 1e-4, 1e-4], None),  # the best lies inside
        ([9.9e-3, 1e-3, 9.9e-3, 1e-3, 1e-3, 9.9e-3, 9.9e-3], None),  # most of the best do
        ([6e-3, 6e-3, 6e-3, 6e-3, 6e-3, 6e-3, 6e-3], None),  # 7 % below the end in logarithms
        ([9.9e-3, 9.9e-3, 9.9e-3], None),  # too few trials
    ],
)
def test_edges_of_a_logarithmic_range(study: Builder, rates: list[float], side: str | None) -> None:
    for number, rate in enumerate(rates):
        study.trial(number, [0.9, 0.1 + number / 100, 0.9], {"optim.lr": rate})
    sentence = caveats.optimum_at_boundary(load_study_tables(study.paths))
    assert sentence is None if side is None else sentence is not None and side in sentence


def test_ends_that_the_setting_itself_has_are_no_edge(study: Builder) -> None:
    """No encoder is deeper than 5, no weight below 0: neither range can be widened there."""
    for number in range(7):
        params = {"model.encoder_depth": 5, "loss.bce": 0.0}
        study.trial(number, [0.9, 0.1 + number / 100, 0.9], params)
    assert caveats.optimum_at_boundary(load_study_tables(study.paths)) is None


def test_whole_numbers_at_an_end_that_can_be_widened(study: Builder) -> None:
    for number in range(7):
        params = {"model.encoder_depth": 3}
        study.trial(number, [0.9, 0.1 + number / 100, 0.9], params)
    sentence = caveats.optimum_at_boundary(load_study_tables(study.paths))
    assert sentence is not None and "model.encoder_depth (lower end 3; best 3)" in sentence


def test_pruner_that_cut_within_the_noise(study: Builder) -> None:
    """At epoch 2 trial 3 was 0.01 behind the best, trial 4 0.40; equal ones differ by 0.086."""
    study.trial(0, [0.5, 0.4, 0.3], {"optim.lr": 1e-4})
    repeated(study, 1, [0.40, 0.42])
    study.trial(3, [0.6, 0.41], {"optim.lr": 2e-4}, state="pruned")
    study.trial(4, [0.9, 0.80], {"optim.lr": 3e-4}, state="pruned")
    sentence = caveats.pruned_within_noise(load_study_tables(study.paths))
    assert sentence is not None and "cut 1 of 2 pruned trials" in sentence
    # t of one degree of freedom, 12.706 · √2 · 0.014142
    assert "less than 0.2541 behind" in sentence and ": trial 3." in sentence


def test_pruner_without_known_noise_is_not_judged(study: Builder) -> None:
    study.trial(0, [0.5, 0.4, 0.3], {"optim.lr": 1e-4})
    study.trial(1, [0.6, 0.41], {"optim.lr": 2e-4}, state="pruned")
    assert caveats.pruned_within_noise(load_study_tables(study.paths)) is None
