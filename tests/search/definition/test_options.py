"""The options of a call in three parts, and the public functions that take them."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.api.confirm import ConfirmOptions
from harness.core.paths import Workspace
from harness.search.definition.options import (
    ComputeOptions,
    RunOptions,
    SearchOptions,
    StoreOptions,
)

PARTS = (SearchOptions, ComputeOptions, StoreOptions)
FIELDS = {declared.name: declared for part in PARTS for declared in fields(part)}


@pytest.mark.parametrize(
    ("function", "own"),
    [
        (harness.run_study, {"progress"}),
        (harness.check, {"progress"}),
        (harness.find_lr, {"progress", "low", "high", "steps", "name"}),
    ],
)
def test_arguments_of_a_public_function_are_fields_of_the_parts(
    function: Callable[..., Any], own: set[str]
) -> None:
    assert set(inspect.signature(function).parameters) - set(FIELDS) == own


def test_run_study_takes_every_field() -> None:
    assert set(inspect.signature(harness.run_study).parameters) == {*FIELDS, "progress"}


def test_options_of_confirm_are_fields_of_the_parts() -> None:
    own = {"top", "seeds", "folds", "progress"}
    assert set(ConfirmOptions.__annotations__) - set(FIELDS) == own


def test_defaults_of_run_study_are_those_of_the_parts(tmp_path: Path) -> None:
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(harness.run_study).parameters.items()
    }
    options = RunOptions.from_arguments(defaults | {"workspace": tmp_path})
    assert options == RunOptions(
        SearchOptions(), ComputeOptions(), StoreOptions(Workspace(tmp_path))
    )
    for name, default in defaults.items():
        if name in FIELDS and FIELDS[name].default is not MISSING:
            assert default == FIELDS[name].default, name


def test_paths_and_lists_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    options = RunOptions.from_arguments(
        {
            "workspace": "~/ws",
            "space": Path("a.yaml"),
            "data": Path("d"),
            "parts": "~/parts.py",
            "label": ["a"],
            "progress": None,
        }
    )
    assert options.stores.workspace == Workspace((tmp_path / "ws").resolve())
    search = options.search
    assert (search.space, search.data, search.label) == ("a.yaml", "d", ("a",))
    assert search.parts == tmp_path / "parts.py"


def test_only_given_settings_override_study_yaml() -> None:
    assert SearchOptions().overrides == {}
    search = SearchOptions(data="d", sampler="gp", seed=0, objective="val/miou")
    assert search.overrides == {
        "data.root": "d",
        "sampler.name": "gp",
        "seed": 0,
        "objective": {"metric": "val/miou", "direction": "maximize"},
    }


@pytest.mark.parametrize(
    ("compute", "single"),
    [
        (ComputeOptions(), True),
        (ComputeOptions(workers=1), True),
        (ComputeOptions(workers=2), False),
        (ComputeOptions(gpus="0"), False),
        (ComputeOptions(per_gpu=1), False),
    ],
)
def test_single_worker(compute: ComputeOptions, single: bool) -> None:
    assert compute.is_single_worker == single
