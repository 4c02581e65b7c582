"""An opened study: what is read when it is opened, and what only when a property is used."""

from pathlib import Path

import pytest

from harness.config.study import StudyConfig
from harness.core.errors import ConfigError, UserError
from harness.search.definition.context import find_option_space, open_context
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.options import RunOptions
from harness.space.space import SearchSpace
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
    with pytest.raises(UserError, match="cuda:99 is not available"):
        _ = context.devices
    with pytest.raises(UserError, match="cuda:99 is not available"):
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
