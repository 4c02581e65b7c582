import pytest

from harness.report.analysis.pruned_gap import best_by_epoch, find_pruning_gaps
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder


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
