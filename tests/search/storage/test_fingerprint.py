"""A study does not change under its trials, by whatever editor."""

from pathlib import Path

import optuna
import pytest

from harness.core import files
from harness.core.environment import EnvironmentInfo
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord
from harness.search.storage.fingerprint import DEFINITION_ATTR, check_definition_unchanged
from tests.search.fakes import definition_of
from tests.search.run.test_controller import space


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
    assert first == "the files of study s were changed after it had begun:"
    assert len(lines) == 1 and lines[0].startswith(f"  {line}")
    assert "put them back" in last


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
