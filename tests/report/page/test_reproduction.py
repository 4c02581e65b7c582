from pathlib import Path
from typing import Any

from harness.config import components
from harness.report.page.reproduction import (
    environment_facts,
    pip_requirements,
    reproduction_command,
    settings_outside_command,
)
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder


def test_versions_are_as_pip_takes_them_and_changes_are_told(study: Builder) -> None:
    first = {"python": "3.11.9", "torch": "2.14.0", "numpy": "2.4.0"}
    study.trial(0, [0.5], versions=first)
    study.trial(1, [0.4], versions=first | {"torch": "2.15.0"})
    assert pip_requirements(load_study_tables(study.paths)) == (
        "# Python 3.11.9\nnumpy==2.4.0\ntorch==2.15.0  # earlier trials: 2.14.0\n"
    )


def test_a_study_without_trials_has_no_versions(study: Builder) -> None:
    tables = load_study_tables(study.paths)
    assert pip_requirements(tables) == "" and environment_facts(tables) == []


def test_the_kind_of_device_is_part_of_the_command_where_it_was_one(study: Builder) -> None:
    study.trial(0, [0.5], device="cuda (NVIDIA T4)")
    assert reproduction_command(load_study_tables(study.paths)).endswith(
        "--seed 0 --device cuda --set data.image_size=32"
    )
    study.trial(1, [0.5], device="cpu")
    assert "--device" not in reproduction_command(load_study_tables(study.paths))


def test_a_hostile_device_does_not_enter_the_command(study: Builder) -> None:
    study.trial(0, [0.5], device="$(reboot)")
    assert "reboot" not in reproduction_command(load_study_tables(study.paths))


def test_a_budget_that_may_end_a_study_early_is_said(tmp_path: Path) -> None:
    study = Builder(tmp_path, config={"budget": {"trials": 8, "keep": 5, "stop_after": 3}})
    assert "budget.stop_after: 3" in settings_outside_command(load_study_tables(study.paths))


def test_the_objective_is_an_option_of_the_command(tmp_path: Path) -> None:
    config = {"objective": {"metric": "val/iou", "direction": "maximize"}}
    tables = load_study_tables(Builder(tmp_path, config=config).paths)
    assert " --objective val/iou " in reproduction_command(tables)
    assert settings_outside_command(tables) == ["data.eval_size: 32"]


def test_the_default_objective_needs_no_option(study: Builder) -> None:
    tables = load_study_tables(study.paths)
    assert "--objective" not in reproduction_command(tables)
    assert settings_outside_command(tables) == ["data.eval_size: 32"]


def test_an_objective_of_the_users_file_is_a_setting_of_study_yaml(tmp_path: Path) -> None:
    """The file gives its direction, and a report does not execute it."""
    config = {
        "parts": {"file": "parts.py"},
        "objective": {"metric": "val/mine", "direction": "minimize"},
    }
    try:
        components.metric("mine", origin="own.py", direction="minimize")(no_score)
        study = Builder(tmp_path, config=config)
    finally:
        components.unregister_origin("own.py")
    tables = load_study_tables(study.paths)
    assert "--objective" not in reproduction_command(tables)
    assert 'objective.metric: "val/mine"' in settings_outside_command(tables)


def no_score(probability: Any, truth: Any, valid: Any) -> float:
    return 0.0
