"""The commands of docs/studies.md are ones that the shipped spaces and the command line take."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from harness.cli.arguments import parse_settings
from harness.core.paths import StudyPaths, Workspace
from harness.search.definition.definition import resolve_definition
from harness.search.definition.network_checks import legal_names
from harness.space.reading.load_space import find_space
from tests.report.studies import Builder

PAGE = Path(__file__).parents[1] / "docs" / "studies.md"


def commands() -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^    (harness run .*)$", text, re.MULTILINE)]


def after(words: list[str], option: str) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == option]


def test_baselines_encoders_hyperparameters_settle_one_after_the_other(tmp_path: Path) -> None:
    best: dict[str, Any] = {}
    found: dict[str, Any] = {
        "baselines": {"model.arch": "FPN"},
        "encoder-search": {"model.arch": "FPN", "model.encoder_name": "mobilenet_v2"},
    }
    for words in commands()[:3]:
        (space,) = after(words, "--space")
        name = space.removesuffix(".yaml")
        paths = StudyPaths(tmp_path / "studies" / name)
        definition = resolve_definition(
            paths,
            space=find_space(space, Workspace(tmp_path)),
            overrides={},
            fixed=parse_settings(after(words, "--set")),
            legal=legal_names(),
        )
        assert {key: definition.config.fixed[key] for key in best} == best
        assert set(definition.config.taken) == set(best)
        if name in found:
            Builder(tmp_path, name).trial(0, [0.5], found[name])
            best = found[name]


@pytest.mark.parametrize("word", ["from:baselines", "{from: baselines}"])
def test_both_ways_of_writing_a_reference_mean_the_same(word: str) -> None:
    assert parse_settings([f"model.arch={word}"]) == {"model.arch": {"from": "baselines"}}
