from pathlib import Path
from typing import Any

import pytest

from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.data.splits.splits import read_split
from harness.search.definition.definition import StudyDefinition, resolve_definition
from harness.search.definition.network_checks import legal_names
from harness.search.definition.write_definition import write_definition
from harness.space.space import AllowedValues
from tests.report.studies import FIXED, Builder

LEGAL = AllowedValues(values={"model.encoder_name": ("resnet18", "resnet34", "mobilenet_v2")})
SPACE: dict[str, Any] = {"parameters": {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}}}


@pytest.fixture
def encoders(tmp_path: Path) -> Builder:
    """Trial 1 is the best complete one; trial 2 is lower, and pruned."""
    study = Builder(tmp_path, "encoders")
    study.trial(0, [0.5], {"model.encoder_name": "resnet18", "model.encoder_depth": 5})
    study.trial(1, [0.3], {"model.encoder_name": "mobilenet_v2", "model.encoder_depth": 4})
    study.trial(2, [0.1], {"model.encoder_name": "resnet18"}, state="pruned")
    return study


def settled(study: Builder, written: str = "", **fixed: Any) -> tuple[StudyPaths, StudyDefinition]:
    paths = StudyPaths(study.root / "studies" / "rates")
    if written and not paths.study_yaml.exists():
        paths.root.mkdir(parents=True)
        paths.study_yaml.write_text(written, encoding="utf-8")
    space = SPACE | {"fixed": FIXED}
    return paths, resolve_definition(paths, space=space, overrides={}, fixed=fixed, legal=LEGAL)


def test_value_comes_from_the_best_complete_trial(encoders: Builder) -> None:
    _, definition = settled(encoders, "fixed: {model.encoder_name: {from: encoders}}\n")
    config = definition.config
    assert config.fixed == FIXED | {"model.encoder_name": "mobilenet_v2"}
    assert config.model_dump(mode="json")["taken"] == {
        "model.encoder_name": {
            "study": "encoders",
            "id": "0" * 32,
            "trial": 1,
            "value": "mobilenet_v2",
        }
    }
    assert definition.trial_config({}).model.encoder_name == "mobilenet_v2"


def test_it_is_written_out_and_never_looked_up_again(encoders: Builder) -> None:
    fixed = {"encoder_name": {"from": "encoders"}, "train.batch_size": 4}
    paths, definition = settled(encoders, **fixed)
    write_definition(paths, definition, read_split(encoders.paths.split_csv))
    written = strict_yaml.load_yaml(paths.study_yaml.read_text(), source="s").value
    assert written["fixed"]["model.encoder_name"] == "mobilenet_v2"
    encoders.trial(3, [0.01], {"model.encoder_name": "resnet18"})  # better, and too late
    for again in ({}, fixed):
        _, continued = settled(encoders, **again)
        assert continued.is_started and continued.config == definition.config


def test_another_source_is_a_change(encoders: Builder) -> None:
    paths, definition = settled(encoders, **{"model.encoder_name": {"from": "encoders"}})
    write_definition(paths, definition, read_split(encoders.paths.split_csv))
    with pytest.raises(ConfigError, match="study rates has started without this value from others"):
        settled(encoders, **{"model.encoder_name": {"from": "others"}})
    with pytest.raises(ConfigError, match="has started without this value from encoders"):
        settled(encoders, **{"model.encoder_depth": {"from": "encoders"}})


def test_a_plain_set_lies_over_what_would_be_taken(encoders: Builder) -> None:
    written = "fixed: {model.encoder_name: {from: encoders}}\n"
    _, definition = settled(encoders, written, **{"model.encoder_name": "resnet34"})
    assert definition.config.fixed["model.encoder_name"] == "resnet34"
    assert definition.config.taken == {}


def test_every_value_that_cannot_be_taken_is_told_with_its_line(encoders: Builder) -> None:
    empty = Builder(encoders.root, "empty")
    odd = Builder(encoders.root, "odd")
    odd.trial(4, [0.5], {"model.encoder_name": "vgg11"})
    empty.trial(0, [0.2], state="pruned")
    written = """seed: 1
fixed:
  model.encoder_name: {from: odd}
  model.encoder_depth: {from: encoder}
  model.arch: {from: empty}
  model.options.decoder_channels: {from: encoders}
  model.encoder_weights: {from: encoders, key: x}
  train.batch: 4
  data.subset: {from: rates}
"""
    with pytest.raises(ConfigError) as caught:
        settled(encoders, written)
    studies = encoders.root / "studies"
    place = str(studies / "rates" / "study.yaml")
    lines = [line.removeprefix(place) for line in caught.value.problems]
    assert lines == [
        ":3: model.encoder_name: trial 4 of odd: unknown value 'vgg11'; choose from mobilenet_v2, "
        "resnet18, resnet34",
        f":4: model.encoder_depth: there is no study encoder in {studies}; did you mean encoders?",
        ":5: model.arch: study empty has no complete trial yet",
        ":6: model.options.decoder_channels: trial 1, the best of study encoders, has no setting "
        "model.options.decoder_channels",
        ":7: model.encoder_weights: must be {from: <name of a study>} without further keys",
        ":9: data.subset: a study cannot import from itself; name an earlier one",
        ": train.batch: unknown setting; did you mean train.batch_size?",
    ]


def test_a_searched_key_cannot_be_taken(encoders: Builder) -> None:
    with pytest.raises(ConfigError, match=r"--set: optim\.lr: searched by this space"):
        settled(encoders, **{"optim.lr": {"from": "encoders"}})


def test_rows_of_a_csv_are_judged_beside_what_was_taken(tmp_path: Path) -> None:
    """Dropout is an option of FPN, the best network there, and not of Unet, the default."""
    study = Builder(tmp_path, "encoders")
    study.trial(0, [0.5], {"model.arch": "Unet"})
    study.trial(1, [0.3], {"model.arch": "FPN"})
    file = tmp_path / "grid.csv"
    file.write_text("decoder_dropout\n0.1\n0.3\n", encoding="utf-8")
    paths = StudyPaths(tmp_path / "studies" / "rows")
    options: dict[str, Any] = {"overrides": {}, "legal": legal_names()}
    taken = {"model.arch": {"from": "encoders"}}
    definition = resolve_definition(paths, space=file, fixed=taken, **options)
    assert len(definition.space.rows) == 2 and definition.config.fixed["model.arch"] == "FPN"
    write_definition(paths, definition, read_split(study.paths.split_csv))
    study.trial(2, [0.1], {"model.arch": "Unet"})  # better, and too late
    for again in (taken, {}):
        continued = resolve_definition(paths, space=file, fixed=again, **options)
        assert continued.is_started and continued.config == definition.config
    with pytest.raises(ConfigError) as caught:
        resolve_definition(
            StudyPaths(paths.root.parent / "x"),
            space=file,
            fixed={"arch": {"from": "y"}},
            **options,
        )
    assert caught.value.problems == [
        f"--set: arch: there is no study y in {paths.root.parent}; choose from encoders, rows"
    ]


def test_value_is_taken_from_a_study_with_parts_of_its_own(tmp_path: Path) -> None:
    """Neither its loss nor its objective is registered here."""
    study = Builder(tmp_path, "encoders")
    study.trial(0, [0.3], {"model.encoder_name": "mobilenet_v2"})
    for path, group in ((study.paths.trial(0).config_yaml, "loss"), (study.paths.study_yaml, "")):
        value = strict_yaml.load_yaml(path.read_text(), source="s").value
        if group:
            value[group] |= {"edges": 1.0, "edges_width": 5}
        else:
            value["objective"] = {"metric": "val/boundary", "direction": "minimize"}
        path.write_text(strict_yaml.dump_yaml(value), encoding="utf-8")
    _, definition = settled(study, **{"model.encoder_name": {"from": "encoders"}})
    assert definition.config.fixed["model.encoder_name"] == "mobilenet_v2"
