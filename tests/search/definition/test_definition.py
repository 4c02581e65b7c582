from pathlib import Path
from typing import Any

import pytest

from harness.config.study import ObjectiveConfig, objective_override
from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.data.splits.splits import SplitRow
from harness.search.definition.definition import (
    StudyDefinition,
    record_trial_budget,
    resolve_definition,
)
from harness.search.definition.write_definition import write_definition
from harness.space.space import AllowedValues

SPACE: dict[str, Any] = {
    "parameters": {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}},
    "fixed": {"train.epochs": 5, "train.batch_size": 4},
}
SPLIT = [
    SplitRow(i, f"images/{i}.png", f"masks/{i}.png", role, f"images/{i}.png", "0" * 64, "1" * 64)
    for i, role in enumerate(["train", "val"])
]


@pytest.fixture
def paths(tmp_path: Path) -> StudyPaths:
    return StudyPaths(tmp_path / "studies" / "s")


def settled(paths: StudyPaths, space: Any = SPACE, **options: Any) -> StudyDefinition:
    arguments: dict[str, Any] = {"overrides": {}, "fixed": {}} | options
    return resolve_definition(paths, space=space, legal=AllowedValues(), **arguments)


def begun(paths: StudyPaths, **options: Any) -> StudyDefinition:
    definition = settled(paths, **options)
    write_definition(paths, definition, SPLIT)
    return definition


def test_new_study_spells_every_default_out(paths: StudyPaths) -> None:
    definition = begun(paths)
    assert not definition.is_started
    written = strict_yaml.load_yaml(paths.study_yaml.read_text(encoding="utf-8"), source="s").value
    assert written["pruner"]["warmup"] == 0.3
    assert written["data"]["eval_size"] == 352
    assert written["objective"] == {"metric": "val/dice_loss", "direction": "minimize"}
    assert len(written["id"]) == 32


def test_same_again_continues(paths: StudyPaths) -> None:
    first = begun(paths, fixed={"train.epochs": 7})
    for again in (
        settled(paths, fixed={"train.epochs": 7}),
        settled(paths),  # what is not said again stays as recorded
        settled(paths, space=None),
    ):
        assert again.is_started
        assert again.config == first.config
        assert again.space == first.space


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"fixed": {"train.epochs": 6}}, r"fixed\.train\.epochs: 5 -> 6"),
        ({"fixed": {"data.subset": 0.5}}, r"fixed\.data\.subset: 'absent' -> 0\.5"),
        ({"overrides": {"sampler.name": "gp"}}, r"sampler\.name: 'tpe' -> 'gp'"),
        (
            {
                "space": SPACE
                | {"parameters": {"optim.lr": {"low": 1e-6, "high": 1e-2, "log": True}}}
            },
            r"space: parameters\.optim\.lr\.low: 1e-05 -> 1e-06",
        ),
    ],
)
def test_change_is_refused_with_the_difference(
    paths: StudyPaths, change: dict[str, Any], line: str
) -> None:
    begun(paths)
    with pytest.raises(ConfigError, match=rf"(?s)study s has started.*{line}.*--study"):
        settled(paths, **change)


def test_images_may_lie_elsewhere_and_nothing_else_of_the_data_may_change(
    paths: StudyPaths,
) -> None:
    """That they are the same images is for the hashes of split.csv to say."""
    begun(paths)
    assert settled(paths, overrides={"data.root": "elsewhere"}).config.data.root == "elsewhere"
    with pytest.raises(ConfigError, match=r"data\.eval_size: 352 -> 64") as refused:
        settled(paths, overrides={"data.root": "elsewhere", "data.eval_size": 64})
    assert "data.root" not in str(refused.value)


def test_set_lies_over_study_and_study_over_space(paths: StudyPaths) -> None:
    paths.root.mkdir(parents=True)
    paths.study_yaml.write_text("fixed: {train.epochs: 6, train.batch_size: 8}\n", encoding="utf-8")
    definition = settled(paths, fixed={"train.epochs": 7})
    assert definition.config.fixed == {"train.epochs": 7, "train.batch_size": 8}
    assert definition.space.constants["train.batch_size"] == 8
    config = definition.trial_config({"optim.lr": 1e-3})
    assert (config.train.epochs, config.train.batch_size, config.optim.lr) == (7, 8, 1e-3)


def test_short_keys_serve_where_they_are_unambiguous(paths: StudyPaths) -> None:
    assert settled(paths, fixed={"epochs": 3}).config.fixed["train.epochs"] == 3
    with pytest.raises(
        ConfigError, match=r"--set: epoch: unknown setting; did you mean train.epochs"
    ):
        settled(paths, fixed={"epoch": 3})


def test_searched_key_cannot_be_set(paths: StudyPaths) -> None:
    with pytest.raises(ConfigError, match=r"--set: optim\.lr: searched by this space"):
        settled(paths, fixed={"optim.lr": 1e-3})


def test_every_bad_setting_is_named_at_once(paths: StudyPaths) -> None:
    with pytest.raises(ConfigError) as caught:
        settled(paths, fixed={"train.epochs": 0, "optim.nme": "adam"})
    assert len(caught.value.problems) == 2


def test_unknown_key_of_a_hand_written_study_is_refused(paths: StudyPaths) -> None:
    paths.root.mkdir(parents=True)
    paths.study_yaml.write_text("pruner: {name: median, warmupp: 0.2}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"study\.yaml: pruner\.warmupp: .*pruner\.warmup\?"):
        settled(paths)


def test_budget_is_no_part_of_the_definition(paths: StudyPaths) -> None:
    definition = begun(paths)
    record_trial_budget(paths, definition.config, 99)
    again = settled(paths)
    assert again.is_started and again.config.budget.trials == 99
    assert again.config.definition() == definition.config.definition()


def test_study_without_a_space_is_one_configuration(paths: StudyPaths) -> None:
    definition = begun(paths, space=None, fixed={"train.epochs": 2})
    assert definition.space.parameters == ()
    assert definition.trial_config({}).train.epochs == 2


def test_an_objective_that_is_asked_for_brings_its_direction(paths: StudyPaths) -> None:
    """Also over a study.yaml with the opposite setting, and never over a started study."""
    paths.root.mkdir(parents=True)
    text = "objective: {metric: val/dice_loss, direction: minimize}\n"
    paths.study_yaml.write_text(text, encoding="utf-8")
    first = begun(paths, overrides=objective_override("val/iou"))
    assert first.config.objective == ObjectiveConfig(metric="val/iou", direction="maximize")
    assert settled(paths, overrides=objective_override("val/iou")).config == first.config
    assert settled(paths).config.objective.metric == "val/iou"
    with pytest.raises(ConfigError, match=r"objective\.metric: 'val/iou' -> 'val/dice'"):
        settled(paths, overrides=objective_override("val/dice"))


def test_question_is_asked_for_or_the_first_comment_of_the_space(paths: StudyPaths) -> None:
    space = paths.root.parents[1] / "s.yaml"
    text = "# Does depth pay?   harness run --space s.yaml\n" + strict_yaml.dump_yaml(SPACE)
    space.write_text(text, encoding="utf-8")
    assert settled(paths, space).config.question == "Does depth pay?"
    asked = settled(paths, space, overrides={"question": "Why?"})
    assert asked.config.question == "Why?"


def test_question_of_a_started_study_may_change(paths: StudyPaths) -> None:
    begun(paths, overrides={"question": "Why?"})
    assert settled(paths).config.question == "Why?"
    assert settled(paths, overrides={"question": "How?"}).config.question == "How?"
