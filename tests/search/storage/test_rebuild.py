"""Optuna's database lost, damaged, behind or contradicting: the folders are the truth."""

import math
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from harness.core import files
from harness.core.environment import EnvironmentInfo
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord
from harness.core.sqlite_file import is_damaged
from harness.execution.protocol import TrialTask
from harness.search.storage.optuna_study import trial_attributes
from harness.search.storage.rebuild import (
    DEFINITION_ATTR,
    check_definition_unchanged,
    load_or_rebuild_study,
)
from harness.search.storage.storage import open_storage
from tests.search.fakes import FakeExecutor, controller_of, definition_of
from tests.search.run.test_controller import DyingExecutor, flat, space, trials_of

SPACE: dict[str, Any] = {
    "parameters": {
        "model.arch": {"choices": ["Unet", "Linknet"]},
        "model.options.decoder_attention_type": {
            "choices": [None, "scse"],
            "when": {"model.arch": "Unet"},
        },
        "model.encoder_depth": {"low": 3, "high": 5},
        "optim.lr": {"low": 1e-5, "high": 1e-2, "log": True},
        "loss.dice": {"low": 0.1, "high": 1.0},
    },
    "fixed": {"train.epochs": 4},
    "enqueue": [{"model.arch": "Linknet", "optim.lr": 1e-3}, {"optim.lr": 2e-3}],
}
SETTINGS: dict[str, Any] = {
    "seed": 5,
    "sampler": {"name": "tpe", "n_startup_trials": 4},
    "pruner": {"name": "median", "n_startup_trials": 2, "n_min_trials": 1},
}


def curve(task: TrialTask) -> list[float]:
    """Falls from a level that the parameters set; the fifth trial diverges."""
    level = min(0.9, abs(math.log10(task.config.optim.lr) + 3) / 3 + task.config.loss.dice / 9)
    values = [level + (1 - level) / (epoch + 2) for epoch in range(4)]
    return [*values[:2], math.nan] if task.number == 5 else values


def lose(root: Path) -> None:
    for path in root.glob("optuna.db*"):
        path.unlink()


def paths_of(root: Path) -> StudyPaths:
    return StudyPaths(root / "studies" / "s")


def facts(trial: FrozenTrial) -> tuple[object, ...]:
    return (
        trial.number,
        trial.state,
        trial.values,
        trial.params,
        trial.distributions,
        trial.intermediate_values,
        trial.user_attrs,
        trial.system_attrs.get("fixed_params"),  # the others are a sampler's own notes
    )


def run_to(root: Path, n: int, **settings: Any) -> None:
    definition = definition_of(SPACE, **(SETTINGS | settings))
    storage = open_storage(root / "optuna.db")
    load_or_rebuild_study(storage, paths_of(root), definition, lambda _: None)
    controller_of(root, definition, FakeExecutor(curve)).run(n)


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "qmc"])
def test_lost_database_is_rebuilt_and_draws_the_same_from_then_on(
    tmp_path: Path, sampler: str
) -> None:
    n_before, n_after = (8, 10) if sampler == "gp" else (14, 18)
    for root in (tmp_path / "whole", tmp_path / "lost"):
        run_to(root, n_before, sampler={"name": sampler, "n_startup_trials": 4})
    before = [facts(trial) for trial in trials_of(tmp_path / "lost")]
    lose(tmp_path / "lost")
    for root in (tmp_path / "whole", tmp_path / "lost"):
        run_to(root, n_after, sampler={"name": sampler, "n_startup_trials": 4})
    whole, lost = (trials_of(tmp_path / name) for name in ("whole", "lost"))
    assert [facts(trial) for trial in lost][:n_before] == before
    assert [facts(trial) for trial in lost] == [facts(trial) for trial in whole]
    assert len(lost) == n_after
    states = {trial.state for trial in lost[:n_before]}
    assert {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL} <= states | {TrialState.PRUNED}
    assert lost[5].state is TrialState.FAIL


def test_dates_of_rebuilt_trials_are_those_of_their_records(tmp_path: Path) -> None:
    run_to(tmp_path, 2)
    before = trials_of(tmp_path)
    lose(tmp_path)
    run_to(tmp_path, 2)
    for old, new in zip(before, trials_of(tmp_path), strict=True):
        for a, b in (
            (old.datetime_start, new.datetime_start),
            (old.datetime_complete, new.datetime_complete),
        ):
            assert a is not None and b is not None
            assert abs((a - b).total_seconds()) < 5


def test_running_trial_is_rebuilt_and_adopted(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        controller_of(tmp_path, definition_of(space(4)), DyingExecutor(1, 3)).run(3)
    before = trials_of(tmp_path)
    lose(tmp_path)
    definition = definition_of(space(4))
    load_or_rebuild_study(
        open_storage(tmp_path / "optuna.db"), paths_of(tmp_path), definition, lambda _: None
    )
    assert [trial.state for trial in trials_of(tmp_path)] == [trial.state for trial in before]
    executor = FakeExecutor(flat)
    controller_of(tmp_path, definition, executor).run(3)
    assert [(task.number, task.attempt) for task in executor.started] == [(1, 2), (2, 1)]
    assert trials_of(tmp_path)[1].params == before[1].params


@pytest.mark.parametrize("gap", [0, 1, 2, 3])
def test_row_without_a_folder_keeps_its_number_and_is_trained(tmp_path: Path, gap: int) -> None:
    """Rows 0 and 1 are enqueued, 2 and 3 drawn."""
    run_to(tmp_path, 5)
    before = trials_of(tmp_path)
    shutil.rmtree(paths_of(tmp_path).trial(gap).root)
    lose(tmp_path)
    run_to(tmp_path, 5)
    after = trials_of(tmp_path)
    assert [trial.number for trial in after] == [0, 1, 2, 3, 4]
    assert all(trial.state.is_finished() for trial in after)
    others = [n for n in range(5) if n != gap]
    assert [facts(after[n]) for n in others] == [facts(before[n]) for n in others]
    given = [{"model.arch": "Linknet", "optim.lr": 1e-3}, {"optim.lr": 2e-3}]
    for number, row in enumerate(given):
        assert {key: after[number].params[key] for key in row} == row


def test_enqueued_rows_not_drawn_yet_are_drawn_after_the_loss(tmp_path: Path) -> None:
    run_to(tmp_path, 1)
    lose(tmp_path)
    run_to(tmp_path, 3)
    rates = [trial.params["optim.lr"] for trial in trials_of(tmp_path)]
    assert rates[:2] == [1e-3, 2e-3] and rates[2] not in rates[:2]


@pytest.mark.parametrize("where", ["all", "header", "middle", "empty", "cut"])
def test_damaged_database_is_moved_aside_and_rebuilt(tmp_path: Path, where: str) -> None:
    run_to(tmp_path, 6)
    before = [facts(trial) for trial in trials_of(tmp_path)]
    database = tmp_path / "optuna.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data, noise = database.read_bytes(), random.Random(3).randbytes(8192)
    lose(tmp_path)  # a new file: connections of this process still hold the old one open
    database.write_bytes(
        {
            "all": noise,
            "header": noise[:100] + data[100:],
            "middle": data[:4096] + noise + data[12288:],
            "empty": b"",
            "cut": data[: len(data) // 2],
        }[where]
    )
    said: list[str] = []
    storage = open_storage(database, said.append)
    load_or_rebuild_study(
        storage, paths_of(tmp_path), definition_of(SPACE, **SETTINGS), said.append
    )
    assert [facts(trial) for trial in trials_of(tmp_path)] == before
    found = [path.name for path in tmp_path.glob("optuna.db.damaged-*")]
    aside = [name for name in found if not name.endswith(("-wal", "-shm"))]
    assert len(aside) == (0 if where == "empty" else 1), "an empty file is merely without tables"
    assert said[-1] == "Optuna's database lacked 6 trials: restored from the trial folders"
    if aside:
        assert said[0].endswith(f"moved to {aside[0]} and rebuilt from the trial folders")
    assert not is_damaged(database)


def test_whole_database_is_left_alone(tmp_path: Path) -> None:
    run_to(tmp_path, 3)
    said: list[str] = []
    storage = open_storage(tmp_path / "optuna.db", said.append)
    load_or_rebuild_study(
        storage, paths_of(tmp_path), definition_of(SPACE, **SETTINGS), said.append
    )
    assert said == []


@pytest.mark.parametrize("what", ["value", "param", "state"])
def test_database_that_contradicts_the_folders_is_rebuilt(tmp_path: Path, what: str) -> None:
    run_to(tmp_path, 4)
    before = [facts(trial) for trial in trials_of(tmp_path)]
    change = {
        "value": "UPDATE trial_values SET value = 0.0 WHERE trial_id = 2",
        "param": "UPDATE trial_params SET param_value = 0.005 "
        "WHERE trial_id = 2 AND param_name = 'optim.lr'",
        "state": "UPDATE trials SET state = 'FAIL' WHERE trial_id = 2",
    }[what]
    with sqlite3.connect(tmp_path / "optuna.db") as connection:
        connection.execute(change)
    connection.close()
    said: list[str] = []
    storage = open_storage(tmp_path / "optuna.db", said.append)
    load_or_rebuild_study(
        storage, paths_of(tmp_path), definition_of(SPACE, **SETTINGS), said.append
    )
    assert said[0].startswith("trial 1 in Optuna's database differs from its folder")
    assert [facts(trial) for trial in trials_of(tmp_path)] == before


def test_lost_studies_of_one_workspace_come_back_each_when_it_is_run(tmp_path: Path) -> None:
    run_to(tmp_path, 3)
    other = "f" * 32
    before = [facts(trial) for trial in trials_of(tmp_path)]
    lose(tmp_path)
    storage = open_storage(tmp_path / "optuna.db")
    twin = definition_of(SPACE, **(SETTINGS | {"id": other}))
    load_or_rebuild_study(storage, StudyPaths(tmp_path / "studies" / "t"), twin, lambda _: None)
    assert [s.study_name for s in optuna.get_all_study_summaries(storage)] == ["t"]
    run_to(tmp_path, 3)
    assert [facts(trial) for trial in trials_of(tmp_path)] == before


@pytest.fixture
def paths(tmp_path: Path) -> StudyPaths:
    paths = StudyPaths(tmp_path / "studies" / "s")
    files.write_text(paths.split_csv, "image\na.png\n")
    return paths


@pytest.fixture
def study(paths: StudyPaths) -> optuna.Study:
    study = optuna.create_study()
    check_definition_unchanged(study, paths, definition_of(space()))
    return study


def test_same_definition_goes_on(study: optuna.Study, paths: StudyPaths) -> None:
    check_definition_unchanged(study, paths, definition_of(space()))
    moved = definition_of(space(), data={"root": "elsewhere"})
    check_definition_unchanged(study, paths, moved)
    check_definition_unchanged(
        study, paths, definition_of(space(), budget={"keep": 1}, question="Why?")
    )


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"pruner": {"name": "none"}}, "pruner.name: 'halving' -> 'none'"),
        ({"seed": 3}, "seed: 0 -> 3"),
        ({"fixed": {"train.epochs": 10, "optim.momentum": 0.5}}, "fixed.optim.momentum: 'absent'"),
    ],
)
def test_edited_study_yaml_is_refused_with_the_difference(
    study: optuna.Study, paths: StudyPaths, settings: dict[str, object], line: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        check_definition_unchanged(study, paths, definition_of(space(), **settings))
    first, *lines, last = refused.value.problems
    assert first == "the files of study s were changed after it had started:"
    assert len(lines) == 1 and lines[0].startswith(f"  {line}")
    assert "restore them" in last


def test_edited_space_and_split_are_refused(study: optuna.Study, paths: StudyPaths) -> None:
    wider = {"parameters": {"optim.lr": {"low": 1e-5, "high": 1e-1, "log": True}}}
    with pytest.raises(ConfigError, match=r"optim\.lr\.high: 0\.01 -> 0\.1"):
        check_definition_unchanged(
            study, paths, definition_of(wider | {"fixed": {"train.epochs": 10}})
        )
    files.write_text(paths.split_csv, "image\nb.png\n")
    with pytest.raises(ConfigError, match=r"files\.split\.csv: '[0-9a-f]{64}' -> '[0-9a-f]{64}'"):
        check_definition_unchanged(study, paths, definition_of(space()))


def test_setting_that_a_new_version_added_is_no_change(
    study: optuna.Study, paths: StudyPaths
) -> None:
    recorded = dict(study.user_attrs[DEFINITION_ATTR])
    del recorded["sampler"]["qmc_type"]
    study.set_user_attr(DEFINITION_ATTR, recorded)
    check_definition_unchanged(study, paths, definition_of(space()))


def record(**values: object) -> TrialRecord:
    same = {"study": "s", "number": 6, "state": "complete", "params": {}, "distributions": {}}
    return TrialRecord.model_validate(same | {"epochs": 1, "seed": 0} | values)


def test_versions_device_and_commit_are_told_in_one_line() -> None:
    stamp = EnvironmentInfo({"torch": "2.15.0", "optuna": "5.0"}, "b")
    old = {"versions": {"torch": "2.14.0", "optuna": "5.0"}, "device": "cpu", "git_commit": "a"}
    assert stamp.describe_changes(record(**old), "cuda (T4)") == (
        "since trial 6: torch 2.14.0 -> 2.15.0, device cpu -> cuda (T4), commit a -> b; "
        "numbers may differ from before"
    )
    same = {"versions": dict(stamp.versions), "device": "cpu", "git_commit": "b"}
    assert stamp.describe_changes(record(**same), "cpu") is None
    assert stamp.describe_changes(None, "cpu") is None
    assert stamp.describe_changes(record(**same), None) is None, "the nodes choose their devices"


def test_rows_show_folder_seed_and_scores_in_a_dashboard(tmp_path: Path) -> None:
    run_to(tmp_path, 2)
    study = optuna.load_study(study_name="s", storage=open_storage(tmp_path / "optuna.db"))
    assert study.metric_names == ["val/dice_loss"]
    record = TrialRecord.model_validate_json(
        paths_of(tmp_path).trial(1).trial_json.read_text(encoding="utf-8")
    )
    shown = {"folder": "trials/0001", "seed": record.seed}
    assert study.trials[1].user_attrs == shown
    scored = record.model_copy(update={"best": {"best/dice": 0.6, "best/iou": 0.5}})
    assert trial_attributes(scored) == shown | {"dice": 0.6, "iou": 0.5}
