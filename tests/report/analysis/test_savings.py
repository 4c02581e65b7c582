import pytest

from harness.report.analysis.savings import last_trials_sentence, measure_savings, trial_spendings
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder


def test_what_pruning_saved_by_hand(study: Builder) -> None:
    """Epochs of 0.5 s: 4 trained; two pruned after 1 and 3 of 10, so 9 + 7 epochs saved."""
    study.trial(0, [0.5, 0.4, 0.3, 0.2])
    study.trial(1, [0.9], state="pruned", planned=10)
    study.trial(2, [0.9, 0.8, 0.8], state="pruned", planned=10)
    study.trial(3, [0.9], state="pruned", planned=10, imported="other/3")
    found = measure_savings(load_study_tables(study.paths))
    assert found is not None
    assert (found.epochs, found.n_pruned, found.epochs_saved) == (
        {"complete": 4, "pruned": 4},
        2,
        16,
    )
    assert found.seconds_saved == pytest.approx(8.0)
    assert found.sentence == (
        "Pruning 2 trials saved 16 epochs (67%) and about 8 s (67%) of the cost of training all "
        "trials to their last planned epoch."
    )


def test_best_so_far_follows_the_order_of_ending(study: Builder) -> None:
    for number, (loss, state, ended) in enumerate(
        [(0.5, "complete", "T3"), (0.1, "pruned", "T1"), (0.4, "complete", "T2")]
    ):
        study.trial(number, [0.9, loss], state=state, ended=f"2026-01-01{ended}")
    study.trial(3, [0.01], imported="other/0")
    rows = trial_spendings(load_study_tables(study.paths))
    assert [row.number for row in rows] == [1, 2, 0]
    assert [row.best for row in rows] == [None, 0.4, 0.4]
    assert [row.cumulative_seconds for row in rows] == [1.0, 2.0, 3.0]


def test_what_the_last_trials_bought(study: Builder) -> None:
    for number in range(4):
        study.trial(number, [0.5 - 0.1 * number] if number != 3 else [0.6])
    rows = trial_spendings(load_study_tables(study.paths))
    assert last_trials_sentence(rows, 2) == (
        "The last 2 finished trials took 1 s (50% of the device time) and improved the best "
        "value by 0.1000, from 0.4000 to 0.3000 (trial 2)."
    )
    assert last_trials_sentence(rows, 1).endswith("and did not improve on the best value, 0.3000.")
    assert last_trials_sentence(rows, 4).endswith("is reported from 5 finished trials on.")


def test_without_times_there_is_no_account(study: Builder) -> None:
    assert (
        measure_savings(load_study_tables(study.paths)) is None
        and trial_spendings(load_study_tables(study.paths)) == []
    )
