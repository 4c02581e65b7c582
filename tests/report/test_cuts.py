import pytest

from harness.report.cuts import best_at, cuts
from harness.report.tables import load_study
from tests.report.studies import Builder


def test_a_cut_is_held_against_the_same_epoch(study: Builder) -> None:
    """Cut after epoch 2 at 0.5, when the complete ones had reached 0.4 and 0.6."""
    study.trial(0, [0.7, 0.4, 0.3, 0.2])
    study.trial(1, [0.8, 0.6, 0.1, 0.1])
    study.trial(2, [0.5, 0.55], state="pruned")
    study.trial(3, [0.6], state="pruned")
    first, second = cuts(load_study(study.paths))
    assert (first.number, first.epoch, first.value, first.beaten) == (2, 2, 0.5, 0.5)
    assert first.gap == pytest.approx(0.1)
    assert second.gap == pytest.approx(-0.1) and second.beaten == 1.0
    assert best_at(load_study(study.paths), 1) == {0: 0.7, 1: 0.8, 2: 0.5, 3: 0.6}


def test_without_complete_trials_there_is_nothing_to_compare(study: Builder) -> None:
    study.trial(0, [0.6], state="pruned")
    assert cuts(load_study(study.paths)) == []
