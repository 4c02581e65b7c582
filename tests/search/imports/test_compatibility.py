from typing import Any

import pytest

from harness.config.study import TrialConfig
from harness.config.user_code import PartsConfig
from harness.core.paths import StudyPaths
from harness.data.splits.splits import read_split
from harness.search.definition.definition import StudyDefinition
from harness.search.imports.compatibility import check_compatibility, incomparable_reasons
from tests.report.studies import FIXED, Builder
from tests.search.earlier import SPACE, new_definition

DICE = {"loss.dice": 0.5}


def reasons(study: Builder, space: dict[str, Any], params: dict[str, Any]) -> tuple[str, ...]:
    definition = new_definition(StudyPaths(study.paths.root.parent / "new"), space)
    record = study.trial(0, [0.5], params)
    return check_compatibility(definition, record, TrialConfig.from_flat(FIXED | params)).reasons


def definition_over(study: Builder, space: dict[str, Any]) -> StudyDefinition:
    return new_definition(StudyPaths(study.paths.root.parent / "new"), space)


def test_a_value_that_was_fixed_or_at_its_default_counts_as_a_value(study: Builder) -> None:
    parameters = {
        "data.image_size": {"choices": [32, 64]},  # fixed there
        "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},  # at its default there
    }
    space = {"parameters": SPACE["parameters"] | parameters, "fixed": {"train.epochs": 4}}
    record = study.trial(0, [0.5], DICE)
    found = check_compatibility(
        definition_over(study, space), record, TrialConfig.from_flat(FIXED | DICE)
    )
    assert found.reasons == ()
    assert found.values == {"loss.dice": 0.5, "data.image_size": 32, "optim.lr": 1e-3}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"fixed": FIXED | {"train.epochs": 5}}, "train.epochs was 4 there and is 5 here"),
        (
            {"parameters": {"loss.dice": {"low": 0.6, "high": 1.0}}},
            "loss.dice is outside what is searched here (0.6 to 1.0)",
        ),
        (
            {"parameters": {"loss.dice": {"choices": [0.0, 1.0]}}},
            "loss.dice is outside what is searched here (0.0, 1.0)",
        ),
        (
            {"forbid": [{"loss.dice": {"low": 0.4, "high": 0.6}}]},
            "forbidden here by {'loss.dice': {'low': 0.4, 'high': 0.6}}",
        ),
        (
            {"parameters": {"loss.bce": {"low": 0, "high": 1.0}}},
            "loss.dice was searched there and is 1.0 here",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_its_reason(
    study: Builder, change: dict[str, Any], expected: str
) -> None:
    assert reasons(study, SPACE | change, DICE) == (expected,)


def test_every_reason_is_told_at_once(study: Builder) -> None:
    space = {
        "parameters": {"loss.dice": {"low": 0.6, "high": 1.0}},
        "fixed": FIXED | {"train.epochs": 5, "train.batch_size": 4},
    }
    assert set(reasons(study, space, DICE)) == {
        "loss.dice is outside what is searched here (0.6 to 1.0)",
        "train.batch_size was 8 there and is 4 here",
        "train.epochs was 4 there and is 5 here",
    }


def test_the_seed_may_differ(study: Builder) -> None:
    assert reasons(study, SPACE | {"fixed": FIXED | {"train.seed": 7}}, DICE) == ()


def test_a_parameter_out_of_force_is_absent(study: Builder) -> None:
    parameters = SPACE["parameters"] | {
        "model.arch": {"choices": ["Unet", "Linknet"]},
        "model.options.decoder_attention_type": {
            "choices": [None, "scse"],
            "when": {"model.arch": "Unet"},
        },
    }
    space = SPACE | {"parameters": parameters}
    definition = definition_over(study, space)
    params = DICE | {"model.arch": "Linknet"}
    record = study.trial(0, [0.5], params)
    found = check_compatibility(definition, record, TrialConfig.from_flat(FIXED | params))
    assert found.reasons == () and found.values == params


def test_an_option_that_was_not_set_was_at_its_default(study: Builder) -> None:
    attention = "model.options.decoder_attention_type"
    searched = SPACE["parameters"] | {attention: {"choices": [None, "scse"]}}
    definition = definition_over(study, SPACE | {"parameters": searched})
    record = study.trial(0, [0.5], DICE)
    found = check_compatibility(definition, record, TrialConfig.from_flat(FIXED | DICE))
    assert found.reasons == () and found.values == DICE | {attention: None}
    searched = SPACE["parameters"] | {attention: {"choices": ["scse"]}}
    assert reasons(study, SPACE | {"parameters": searched}, DICE) == (
        f"{attention} is outside what is searched here ('scse')",
    )


@pytest.mark.parametrize(
    ("depth", "channels", "fits"),
    [
        (5, [256, 128, 64, 32, 16], True),
        (4, [128, 64, 32, 16], True),
        (4, [256, 64, 32, 16], False),
    ],
)
def test_an_option_may_be_written_out_on_either_side(
    study: Builder, depth: int, channels: list[int], fits: bool
) -> None:
    plain = {"model.encoder_depth": depth}
    written = plain | {"model.options.decoder_channels": channels}
    for here, there in ((plain, written), (written, plain)):
        definition = definition_over(study, SPACE | {"fixed": FIXED | here})
        record = study.trial(0, [0.5], DICE)
        found = check_compatibility(definition, record, TrialConfig.from_flat(FIXED | there | DICE))
        assert (found.reasons == ()) == fits, found.reasons


def test_studies_are_compared_by_objective_data_and_pictures(study: Builder) -> None:
    other = Builder(
        study.root, "other", {"objective": {"metric": "val/iou", "direction": "maximize"}}
    )
    old, new = (
        definition_over(study, SPACE).config.model_copy(update={"objective": config.objective})
        for config in (definition_over(study, SPACE).config, _config(other))
    )
    split = read_split(study.paths.split_csv)
    assert incomparable_reasons(old, old, split, split) == []
    assert incomparable_reasons(old, new, split, split) == [
        "objective.metric: 'val/dice_loss' there, 'val/iou' here",
        "objective.direction: 'minimize' there, 'maximize' here",
    ]
    sized = old.model_copy(update={"data": old.data.model_copy(update={"eval_size": 64})})
    mine = PartsConfig(file="parts.py", sha256="0" * 64)
    own, other = (old.model_copy(update={"parts": p}) for p in (mine, None))
    assert (
        incomparable_reasons(own, own, split, split)
        == incomparable_reasons(other, own, split, split)
        == []
    )
    said = incomparable_reasons(own, other, split, split)
    assert said == ["parts: parts.py there has other contents, or is not used here"]
    assert incomparable_reasons(old, sized, split, split) == ["data.eval_size: 32 there, 64 here"]
    moved = old.model_copy(update={"data": old.data.model_copy(update={"root": "elsewhere"})})
    assert incomparable_reasons(old, moved, split, split[:-1]) == []  # the last one is of test
    assert incomparable_reasons(old, old, split, [*split[:-2], split[-1]]) == [
        "split: the val images differ: 1 of its 8 are not among the 7 here"
    ]


def _config(study: Builder) -> Any:
    from harness.report.tables.study_tables import load_study_tables

    return load_study_tables(study.paths).config
