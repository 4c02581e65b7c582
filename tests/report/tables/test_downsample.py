from dataclasses import replace

import pytest

from harness.report.tables.downsample import (
    N_BEST_TRIALS,
    downsample_curves,
    downsample_trials,
    restrict_to_subset,
)
from harness.report.tables.study_tables import StudyTables, load_study_tables, ranked_records
from tests.report.studies import Builder


def test_a_small_study_is_drawn_whole(study: Builder) -> None:
    for number in range(3):
        study.trial(number, [0.5])
    tables = load_study_tables(study.paths)
    found = downsample_trials(tables)
    assert (set(found.numbers), found.note) == ({0, 1, 2}, "") and restrict_to_subset(
        tables, found
    ) is tables


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    """130 trials, of which the last 100 are the best."""
    study = Builder(tmp_path_factory.mktemp("many"))
    for number in range(130):
        study.trial(number, [0.9 - 0.001 * number])
    return load_study_tables(study.paths)


def test_of_many_the_best_and_an_even_sample_are_drawn(many: StudyTables) -> None:
    found = downsample_trials(many, N_BEST_TRIALS + 10)
    assert sorted(found.numbers) == [*range(0, 30, 3), *range(30, 130)]
    assert found.note == (
        "The figures show the best 100 complete trials and 10 of the other 30, sampled evenly by "
        "number; all are in trials.csv."
    )
    some = restrict_to_subset(many, found)
    assert len(some.records) == len(some.trials) == 110
    assert set(some.epochs["number"]) == set(found.numbers)
    assert ranked_records(some)[:N_BEST_TRIALS] == ranked_records(many)[:N_BEST_TRIALS]


@pytest.mark.parametrize(("epochs", "n"), [(1, 130), (240, 100), (5000, 100)])
def test_long_curves_are_fewer(many: StudyTables, epochs: int, n: int) -> None:
    longer = replace(many, trials=many.trials.assign(epochs_done=epochs))
    assert len(downsample_curves(longer).numbers) == n
