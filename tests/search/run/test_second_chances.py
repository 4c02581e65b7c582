"""Stopped trials that continue once all trials have ended."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from harness.api import run_study
from harness.config.objective import ObjectiveConfig
from harness.config.study import StudyConfig
from harness.core import files
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_epochs, read_record, read_records, write_record
from harness.search.run.retention import ArtifactRetention, remove_spare_checkpoints
from harness.search.run.second_chances import (
    MAX_CHANCES,
    reopen_stopped_trials,
    select_second_chances,
)
from harness.search.storage.rebuild import load_or_rebuild_study
from harness.search.storage.storage import open_storage
from tests.conftest import TINY
from tests.search.fakes import FakeExecutor, controller_of, definition_of

PLANNED = 10  # epochs


def record_of(
    number: int, value: float | None, state: str = "pruned", **fields: object
) -> TrialRecord:
    return TrialRecord(
        study="s",
        number=number,
        state=state,  # type: ignore[arg-type]
        params={},
        distributions={},
        epochs=PLANNED,
        seed=0,
        value=value,
        **fields,  # type: ignore[arg-type]
    )


def chosen(records: list[TrialRecord], n_epochs: list[int], share: float, metric: str) -> list[int]:
    stopped = [r for r in records if r.state == "pruned" and r.second_chance is None]
    trained = dict(enumerate(n_epochs))
    objective = ObjectiveConfig.model_validate({"metric": metric})
    selected = select_second_chances(records, stopped, trained, objective, share)
    return [record.number for record in selected]


@pytest.mark.parametrize(
    ("share", "metric", "expected"),
    [
        (0.5, "val/dice_loss", [2, 1]),  # 15 of 30 epochs: 5 + 8
        (0.25, "val/dice_loss", [2]),  # 7.5
        (0.1, "val/dice_loss", []),
        (0.0, "val/dice_loss", []),
        (0.5, "val/dice", [1, 2]),  # higher is better
    ],
)
def test_best_stopped_trials_that_fit_into_the_share(
    share: float, metric: str, expected: list[int]
) -> None:
    records = [record_of(0, 0.1, "complete"), record_of(1, 0.5), record_of(2, 0.2)]
    records += [record_of(3, 0.7, "complete"), record_of(4, None, "failed")]
    assert chosen(records, [10, 2, 5, 10, 3], share, metric) == expected


def test_cheaper_trial_takes_what_the_better_one_cannot() -> None:
    records = [record_of(0, 0.1, "complete"), record_of(1, 0.2), record_of(2, 0.3)]
    assert chosen(records, [10, 2, 8], 0.2, "val/dice_loss") == [2]  # 4 epochs: 8 or 2 are left


def test_epochs_of_earlier_second_chances_count() -> None:
    """A study that was extended does not give the share away twice."""
    records = [record_of(0, 0.1, "complete", second_chance=2), record_of(1, 0.2)]
    assert chosen(records, [10, 6], 0.5, "val/dice_loss") == []  # 8 - 8
    assert chosen(records, [10, 6], 0.8, "val/dice_loss") == [1]  # 12.8 - 8


@pytest.fixture
def paths(tmp_path: Path) -> StudyPaths:
    return StudyPaths(tmp_path / "s")


def stop_trial(paths: StudyPaths, number: int, value: float) -> TrialRecord:
    """A trial that the pruner stopped after two epochs, with its checkpoint."""
    trial = paths.trial(number)
    trial.root.mkdir(parents=True)
    for epoch in (1, 2):
        files.append_jsonl(trial.epochs_jsonl, {"epoch": epoch, "val/dice_loss": value})
    trial.checkpoint.write_bytes(b"state")
    record = record_of(number, value, pruned_after=2, ended="2026-11-30T10:00:00.000Z")
    write_record(trial, record)
    return record


def kept(paths: StudyPaths) -> list[int]:
    return [trial.number for trial in paths.all_trials() if trial.checkpoint.exists()]


def test_checkpoints_of_the_most_promising_stopped_trials_are_kept(paths: StudyPaths) -> None:
    retention = ArtifactRetention(paths, StudyConfig())
    for number, value in enumerate([0.5, 0.2, 0.9, 0.4, 0.3, 0.6]):
        retention.add_trial(stop_trial(paths, number, value))
    assert kept(paths) == [0, 1, 3, 4] and MAX_CHANCES == 4
    ArtifactRetention(paths, StudyConfig())  # the next command
    assert kept(paths) == [0, 1, 3, 4]
    assert remove_spare_checkpoints(paths) == 4 * len(b"state")
    assert kept(paths) == []


def test_imported_trials_take_no_chance_of_the_study_s_own(paths: StudyPaths) -> None:
    """They have no checkpoint here, and must not displace one."""
    retention = ArtifactRetention(paths, StudyConfig())
    for number in range(MAX_CHANCES):
        retention.add_trial(record_of(number, 0.1, imported=f"old/{number}"))
    retention.add_trial(stop_trial(paths, MAX_CHANCES, 0.5))
    assert kept(paths) == [MAX_CHANCES]


def test_study_without_second_chances_keeps_none(paths: StudyPaths) -> None:
    config = StudyConfig.from_mapping({"budget": {"second_chances": 0.0}})
    ArtifactRetention(paths, config).add_trial(stop_trial(paths, 0, 0.5))
    assert kept(paths) == []


def test_reopened_trial_runs_again_and_remembers_where_it_stopped(paths: StudyPaths) -> None:
    config = StudyConfig.from_mapping({"budget": {"second_chances": 1.0}})
    for number in range(6):
        stop_trial(paths, number, 0.5 - number / 100)
    paths.trial(5).checkpoint.unlink()
    (reopened,) = reopen_stopped_trials(paths, config)  # 12 epochs, of which 8 are needed
    assert (reopened.number, reopened.state, reopened.second_chance) == (4, "running", 2)
    assert reopened.pruned_after is None and reopened.ended is None
    assert read_record(paths.trial(4).trial_json) == reopened
    assert reopen_stopped_trials(paths, config) == [], "the rest of the share does not suffice"


def test_rows_of_reopened_trials_are_rebuilt_and_they_continue(tmp_path: Path) -> None:
    """Also by the next command, if this one is killed in between: Optuna's row is still PRUNED."""
    space = {
        "parameters": {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}},
        "fixed": {"train.epochs": 8},
    }
    definition = definition_of(space, budget={"second_chances": 1.0})
    paths = StudyPaths(tmp_path / "studies" / "s")

    def play(trials: int) -> FakeExecutor:
        # The first trial is the best after two epochs, the third one at the end.
        curves = {0: [0.5] * 8, 2: [0.6, 0.6, *[0.1] * 6]}
        executor = FakeExecutor(lambda task: curves.get(task.number, [0.9] * 8))
        controller_of(tmp_path, definition, executor).run(trials)
        return executor

    play(4)
    assert read_record(paths.trial(2).trial_json).state == "pruned"
    paths.trial(2).checkpoint.write_bytes(b"state")
    reopened = reopen_stopped_trials(paths, definition.config)
    assert [(record.number, record.second_chance) for record in reopened] == [(2, 2)]
    storage = open_storage(tmp_path / "optuna.db")
    lines: list[str] = []
    study = load_or_rebuild_study(storage, paths, definition, lines.append)
    assert study.trials[2].state == TrialState.RUNNING and len(study.trials) == 4
    executor = play(4)
    assert [(task.number, task.attempt) for task in executor.started] == [(2, 2)]
    record = read_record(paths.trial(2).trial_json)
    assert (record.state, record.value, record.second_chance) == ("complete", 0.1, 2)
    assert len(executor.asked) == 8, "the pruner does not stop it where it had stopped it"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_continued_trial_ends_with_the_numbers_of_one_that_was_never_stopped(
    workspace: Path, polyps: Path
) -> None:
    space = {**TINY, "fixed": {**TINY["fixed"], "train.epochs": 5}}
    shared = {"space": space, "data": polyps, "trials": 6, "sampler": "random", "device": "cpu"}
    whole = run_study("whole", pruner="none", workspace=workspace, **shared)  # type: ignore[arg-type]
    study = StudyPaths(workspace / "studies" / "stopped")
    study.root.mkdir(parents=True)
    study.study_yaml.write_text("budget: {second_chances: 1.0, keep: 6}\n", encoding="utf-8")
    run_study("stopped", workspace=workspace, **shared)  # type: ignore[arg-type]
    records = read_records(study)
    continued = [record for record in records if record.second_chance is not None]
    assert continued, "the pruner stopped none"
    assert kept(study) == []
    for record in records:
        trial, undisturbed = study.trial(record.number), whole.paths.trial(record.number)
        own, expected = read_epochs(trial), read_epochs(undisturbed)
        for line, other in zip(own, expected, strict=False):
            for key in ("val/dice_loss", "val/dice", "train/loss"):
                assert line[key] == other[key], (record.number, line["epoch"], key)
        if record.state == "complete":
            assert len(own) == 5
            assert record.value == read_record(undisturbed.trial_json).value
            assert trial.model.exists()
    # The same command has nothing to do, and the index holds each trial once.
    again = run_study("stopped", workspace=workspace, **shared)  # type: ignore[arg-type]
    assert [r.state for r in read_records(again.paths)] == [r.state for r in records]
