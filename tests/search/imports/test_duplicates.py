from pathlib import Path

from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.search.imports.duplicates import config_key, first_trial_by_config
from tests.report.studies import Builder
from tests.search.fakes import FakeExecutor, Silence, controller_of, definition_of

CHOICES = {"parameters": {"train.batch_size": {"choices": [2, 4]}}, "fixed": {"train.epochs": 1}}


def test_a_repetition_is_marked_with_the_first_trial_alike(tmp_path: Path) -> None:
    """Two configurations, eight trials: each after the first of its kind repeats that one."""
    silence = Silence()
    settings = {"sampler": {"name": "random"}}
    definition = definition_of(CHOICES, **settings)
    executor = FakeExecutor(lambda task: [0.5])
    controller_of(tmp_path, definition, executor, silence).run(8)
    records = read_records(StudyPaths(tmp_path / "studies" / "s"))
    first: dict[object, int] = {}
    for record in records:
        size = record.params["train.batch_size"]
        assert record.repeats == first.get(size)
        first.setdefault(size, record.number)
    assert len(first) == 2 and len({record.seed for record in records}) == 8
    assert [record.repeats for record in silence.ended_records] == [r.repeats for r in records]


def test_marks_are_the_same_after_a_restart(tmp_path: Path) -> None:
    definition = definition_of({"fixed": {"train.epochs": 1}})
    for trials in (2, 4):
        controller_of(tmp_path, definition, FakeExecutor(lambda task: [0.5])).run(trials)
    records = read_records(StudyPaths(tmp_path / "studies" / "s"))
    assert [record.repeats for record in records] == [None, 0, 0, 0]


def test_a_row_that_is_enqueued_twice_is_trained_twice(tmp_path: Path) -> None:
    row = {"train.batch_size": 4}
    definition = definition_of(CHOICES | {"enqueue": [row, row]})
    executor = FakeExecutor(lambda task: [0.5])
    controller_of(tmp_path, definition, executor).run(2)
    assert [task.config.train.batch_size for task in executor.started] == [4, 4]
    assert executor.started[0].seed != executor.started[1].seed


def test_the_seed_is_no_part_of_a_configuration(study: Builder) -> None:
    one = study.trial(0, [0.5], {"train.seed": 1, "optim.lr": 1e-3})
    other = study.trial(1, [0.5], {"optim.lr": 1e-3, "train.seed": 2})
    third = study.trial(2, [0.5], {"optim.lr": 2e-3, "train.seed": 1})
    assert config_key(one) == config_key(other) != config_key(third)
    assert sorted(first_trial_by_config([one, other, third]).values()) == [0, 2]
