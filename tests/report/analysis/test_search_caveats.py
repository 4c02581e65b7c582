import pytest

from harness.report.analysis import search_caveats
from harness.report.analysis.search_caveats import best_by_epoch, find_pruning_gaps
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder, repeated, with_values

RATE = {"optim.lr": 1e-3}


def test_a_cut_is_held_against_the_same_epoch(study: Builder) -> None:
    """Cut after epoch 2 at 0.5, when the complete ones had reached 0.4 and 0.6."""
    study.trial(0, [0.7, 0.4, 0.3, 0.2])
    study.trial(1, [0.8, 0.6, 0.1, 0.1])
    study.trial(2, [0.5, 0.55], state="pruned")
    study.trial(3, [0.6], state="pruned")
    first, second = find_pruning_gaps(load_study_tables(study.paths))
    assert (first.number, first.epoch, first.value, first.share_beaten) == (2, 2, 0.5, 0.5)
    assert first.gap == pytest.approx(0.1)
    assert second.gap == pytest.approx(-0.1) and second.share_beaten == 1.0
    assert best_by_epoch(load_study_tables(study.paths), 1) == {0: 0.7, 1: 0.8, 2: 0.5, 3: 0.6}


def test_without_complete_trials_there_is_nothing_to_compare(study: Builder) -> None:
    study.trial(0, [0.6], state="pruned")
    assert find_pruning_gaps(load_study_tables(study.paths)) == []


def test_best_epochs_at_the_end_ask_for_longer_training(study: Builder) -> None:
    tables = with_values(study, [0.1, 0.2, 0.3, 0.4])
    sentence = search_caveats.training_too_short(tables)
    assert sentence is not None and "the last one in 4 of 4 complete trials" in sentence


def test_best_epochs_before_the_end_do_not(study: Builder) -> None:
    with_values(study, [0.1, 0.2, 0.3])
    for number in (3, 4):
        study.trial(number, [0.9, 0.2, 0.3, 0.4], RATE)
    assert search_caveats.training_too_short(load_study_tables(study.paths)) is None


def test_trials_that_were_stopped_early_tell_nothing_of_longer_training(study: Builder) -> None:
    for number in range(6):
        study.trial(number, [0.9, 0.2 + number / 100], RATE, planned=4)
    assert search_caveats.training_too_short(load_study_tables(study.paths)) is None


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
    sentence = search_caveats.optimum_at_boundary(load_study_tables(study.paths))
    assert sentence is None if side is None else sentence is not None and side in sentence


def test_ends_that_the_setting_itself_has_are_no_edge(study: Builder) -> None:
    """No encoder is deeper than 5, no weight below 0: neither range can be widened there."""
    for number in range(7):
        params = {"model.encoder_depth": 5, "loss.bce": 0.0}
        study.trial(number, [0.9, 0.1 + number / 100, 0.9], params)
    assert search_caveats.optimum_at_boundary(load_study_tables(study.paths)) is None


def test_whole_numbers_at_an_end_that_can_be_widened(study: Builder) -> None:
    for number in range(7):
        params = {"model.encoder_depth": 3}
        study.trial(number, [0.9, 0.1 + number / 100, 0.9], params)
    sentence = search_caveats.optimum_at_boundary(load_study_tables(study.paths))
    assert sentence is not None and "model.encoder_depth (lower end 3; best 3)" in sentence


def test_pruner_that_cut_within_the_noise(study: Builder) -> None:
    """At epoch 2 trial 3 was 0.01 behind the best, trial 4 0.40; equal ones differ by 0.086."""
    study.trial(0, [0.5, 0.4, 0.3], {"optim.lr": 1e-4})
    repeated(study, 1, [0.40, 0.42])
    study.trial(3, [0.6, 0.41], {"optim.lr": 2e-4}, state="pruned")
    study.trial(4, [0.9, 0.80], {"optim.lr": 3e-4}, state="pruned")
    sentence = search_caveats.pruned_within_noise(load_study_tables(study.paths))
    assert sentence is not None and "stopped 1 of 2 pruned trials" in sentence
    # t of one degree of freedom, 12.706 · √2 · 0.014142
    assert "less than 0.2541 behind" in sentence and ": trial 3." in sentence


def test_pruner_without_known_noise_is_not_judged(study: Builder) -> None:
    study.trial(0, [0.5, 0.4, 0.3], {"optim.lr": 1e-4})
    study.trial(1, [0.6, 0.41], {"optim.lr": 2e-4}, state="pruned")
    assert search_caveats.pruned_within_noise(load_study_tables(study.paths)) is None
