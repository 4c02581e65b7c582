"""Opened studies: parts file first, definition next, data and devices on demand only."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.config.study import StudyConfig
from harness.config.user_code import read_parts_file, register_parts_file
from harness.core import strict_yaml
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths
from harness.execution.gpu_packing import PackingLimits
from harness.execution.slots import plan_slots
from harness.search.definition.context import StudyContext, open_context
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.options import RunOptions
from harness.search.definition.study_options import find_option_space
from harness.search.definition.study_parts import load_study_parts
from harness.space.space import SearchSpace
from harness.training.hardware.device_facts import DeviceFacts
from tests.conftest import TINY
from tests.search.fakes import Silence


def options_of(workspace: Path, **arguments: object) -> RunOptions:
    return RunOptions.from_arguments({"workspace": workspace, "study": "s", **arguments})


def test_opening_reads_no_data_asks_no_device_and_writes_nothing(workspace: Path) -> None:
    options = options_of(
        workspace, space=TINY, data="nowhere", storage="nonsense", device="cuda:99", seed=7
    )
    context = open_context(options, options.stores.workspace.study("s"), Silence())
    assert not context.definition.is_started and context.parts is None
    assert (context.config.seed, context.config.data.root) == (7, "nowhere")
    with pytest.raises(UserError, match="--data nowhere"):
        _ = context.source
    with pytest.raises(ConfigError, match="--storage 'nonsense'"):
        _ = context.storage
    with pytest.raises(UserError, match="cuda:99: not available here"):
        _ = context.devices
    with pytest.raises(UserError, match="cuda:99: not available here"):
        _ = context.device
    assert list(workspace.iterdir()) == []


def test_a_command_may_resolve_the_definition_itself(workspace: Path) -> None:
    definition = StudyDefinition(StudyConfig(), SearchSpace(), is_started=True)
    options = options_of(workspace, device="cpu")
    paths = options.stores.workspace.study("s")
    context = open_context(options, paths, Silence(), lambda: definition)
    assert context.definition is definition and context.device.type == "cpu"
    assert [slot.device for slot in context.slots] == ["cpu"]


def test_two_workers_have_a_slot_and_a_device_each(workspace: Path) -> None:
    options = options_of(workspace, workers=2)
    paths = options.stores.workspace.study("s")
    context = open_context(options, paths, Silence())
    assert [slot.device for slot in context.slots] == ["cpu", "cpu"]
    assert len(context.devices) == 2


def test_space_is_found_by_name_or_passed_on(workspace: Path) -> None:
    path = workspace / "search_spaces" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("parameters: {}\n", encoding="utf-8")
    assert find_option_space(options_of(workspace, space="mine.yaml")) == path
    assert find_option_space(options_of(workspace, space=TINY)) == TINY
    assert find_option_space(options_of(workspace)) is None


@pytest.mark.parametrize("named", [False, True])
def test_a_changed_file_is_not_executed(tmp_path: Path, named: bool) -> None:
    paths = StudyPaths(tmp_path / "studies" / "s")
    paths.root.mkdir(parents=True)
    file, traces = paths.parts("own.py"), tmp_path / "traces"
    file.write_text("", encoding="utf-8")
    parts = {"file": "own.py", "sha256": read_parts_file(file).sha256}
    paths.study_yaml.write_text(strict_yaml.dump_yaml({"parts": parts}), encoding="utf-8")
    asked = file if named else None
    assert load_study_parts(paths, asked) == read_parts_file(file)
    file.write_text(f"open({str(traces)!r}, 'w')\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"(?s)study s has started.*parts\.sha256: .* another name"
    ):
        load_study_parts(paths, asked)
    assert not traces.exists()
    register_parts_file(None)


@pytest.mark.parametrize(
    ("per_gpu", "limits"), [("auto", PackingLimits(20_000, 4)), (2, None), (None, None)]
)
def test_packing_is_limited_by_the_fullest_gpu_and_the_planned_workers(
    per_gpu: Any, limits: PackingLimits | None
) -> None:
    context = SimpleNamespace(
        options=SimpleNamespace(compute=SimpleNamespace(per_gpu=per_gpu)),
        slots=plan_slots(per_gpu=per_gpu, gpus="all", visible=("0", "1"), threads=16),
        devices=[DeviceFacts("cuda:0", "cuda (A)", True, free) for free in (80_000, 20_000)],
    )
    assert StudyContext.packing.fget(context) == limits  # type: ignore[attr-defined]
