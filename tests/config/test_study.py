"""Settings of trials and studies: defaults, bounds, and messages that name the key."""

from typing import Any

import pytest
from pydantic import ValidationError

from harness.config.study import BUILTIN_LOSSES, StudyConfig, TrialConfig, trial_keys
from harness.core.errors import ConfigError


def problems(flat: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_flat(flat, source="p")
    return caught.value.problems


def study_problems(value: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        StudyConfig.from_mapping(value)
    return caught.value.problems


def test_flat_and_from_flat_are_each_other_s_inverse() -> None:
    flat = {
        "optim.lr": 3e-4,
        "data.image_size": [96, 128],
        "model.options.decoder_channels": [8, 4],
    }
    config = TrialConfig.from_flat(flat)
    assert TrialConfig.from_flat(config.flat()) == config
    assert {key: config.flat()[key] for key in flat} == flat
    assert set(config.flat()) == {*trial_keys(), "model.options.decoder_channels"}


def test_absent_settings_take_their_defaults() -> None:
    config = TrialConfig.from_flat({"train.epochs": 3})
    assert config.train.epochs == 3
    assert config.model_copy(update={"train": TrialConfig().train}) == TrialConfig()


def test_every_problem_is_named_at_once() -> None:
    assert problems({"optim.lrr": 1, "optim.lr": "1e-4", "foo.x": 1, "train.epochs": 0}) == [
        "p: optim.lr: input should be a valid number (got '1e-4')",
        "p: optim.lrr: unknown setting; did you mean optim.lr?",
        "p: train.epochs: input should be greater than or equal to 1 (got 0)",
        "p: foo: unknown setting; choose from data, loss, model, optim, train",
    ]


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("data.image_size", 15), ("data.image_size", 4097), ("data.image_size", [96]),
        ("data.image_size", [96, 96, 96]), ("data.image_size", True), ("data.image_size", 96.0),
        ("data.subset", 0), ("data.subset", 1.01), ("data.fit", "crop"),
        ("model.encoder_depth", 1), ("model.encoder_depth", 6), ("model.encoder_weights", "sls"),
        ("loss.dice", -0.1), ("loss.dice", 1e7), ("loss.tversky_alpha", 1.1),
        ("loss.label_smoothing", 0.5),
        ("optim.lr", 0), ("optim.lr", float("nan")), ("optim.lr", float("inf")), ("optim.lr", True),
        ("optim.momentum", 1), ("optim.grad_clip", 0), ("optim.name", "lion"),
        ("train.epochs", 2.0), ("train.batch_size", 0), ("train.seed", 2**32),
        ("train.ema_decay", 1), ("train.patience", 0), ("train.compile", 0),
    ],
)  # fmt: skip
def test_value_out_of_bounds_is_refused_under_its_key(key: str, wrong: object) -> None:
    assert problems({key: wrong})[0].startswith(f"p: {key}: ")


@pytest.mark.parametrize(
    ("key", "edge"),
    [
        ("data.image_size", 16), ("data.image_size", 4096), ("data.image_size", [16, 4096]),
        ("data.subset", 1), ("model.encoder_depth", 2), ("model.encoder_depth", 5),
        ("model.encoder_weights", None), ("loss.focal_gamma", 0), ("optim.momentum", 0),
        ("optim.grad_clip", None), ("train.seed", 2**32 - 1), ("train.seed", None),
        ("train.checkpoint_s", 0),
    ],
)  # fmt: skip
def test_value_at_a_bound_is_taken(key: str, edge: object) -> None:
    assert TrialConfig.from_flat({key: edge}).flat()[key] == edge


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrialConfig().train.epochs = 3  # type: ignore[misc]


def test_image_size_is_height_then_width() -> None:
    assert TrialConfig.from_flat({"data.image_size": [96, 128]}).data.height_width == (96, 128)
    assert TrialConfig.from_flat({"data.image_size": 64}).data.height_width == (64, 64)


def test_loss_weights_are_divided_by_their_sum() -> None:
    """3 / (3 + 1) and 1 / (3 + 1); what weighs nothing is not there."""
    loss = TrialConfig.from_flat({"loss.dice": 3, "loss.bce": 0, "loss.focal": 1}).loss
    assert loss.weights == {"dice": 0.75, "focal": 0.25}


def test_largest_loss_weights_still_add_up() -> None:
    loss = TrialConfig.from_flat({f"loss.{part}": 1e6 for part in BUILTIN_LOSSES}).loss
    assert loss.weights == dict.fromkeys(BUILTIN_LOSSES, 1 / len(BUILTIN_LOSSES))


def test_one_loss_weight_must_be_above_zero() -> None:
    assert problems({"loss.dice": 0, "loss.bce": 0}) == [
        "p: loss: all weights are 0; set one of dice, bce, ce, focal, jaccard, tversky, lovasz "
        "above 0"
    ]


@pytest.mark.parametrize(
    ("optim", "rates"),
    [
        ({}, (0.1, 0.1)),
        ({"optim.encoder_lr": 0.3}, (0.3, 0.1)),
        ({"optim.encoder_lr_scale": 0.5}, (0.05, 0.1)),
        ({"optim.decoder_lr": 0.2}, (0.1, 0.2)),
        ({"optim.decoder_lr": 0.2, "optim.encoder_lr_scale": 0.5}, (0.05, 0.2)),
    ],
)
def test_rates_of_encoder_and_decoder(optim: dict[str, float], rates: tuple[float, float]) -> None:
    assert TrialConfig.from_flat({"optim.lr": 0.1} | optim).optim.peak_rates == rates


def test_encoder_rate_and_its_scale_exclude_each_other() -> None:
    assert problems({"optim.encoder_lr": 0.1, "optim.encoder_lr_scale": 0.1}) == [
        "p: optim: encoder_lr and encoder_lr_scale are both set; keep one"
    ]


def test_trial_keys_are_the_keys_of_a_trial_without_options() -> None:
    assert set(trial_keys()) == set(TrialConfig().flat())
    assert "model.options" not in trial_keys()


def test_study_definition_leaves_out_what_may_change() -> None:
    config = StudyConfig.from_mapping({"question": "why?", "budget": {"trials": 3}})
    other = config.model_copy(update={"question": None, "budget": StudyConfig().budget})
    assert config.definition() == other.definition()
    assert {"question", "budget", "limits"} == set(config.model_dump()) - set(config.definition())


def test_study_reads_back_from_its_dump() -> None:
    config = StudyConfig.from_mapping(
        {"id": "0" * 32, "fixed": {"optim.lr": 0.1, "data.image_size": [32, 64]},
         "split": {"fractions": [0.8, 0.2, 0.0]}, "data": {"classes": ["background", "polyp"]}}
    )  # fmt: skip
    assert StudyConfig.from_mapping(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"dat": 1}, "study.yaml: dat: unknown setting; did you mean data?"),
        ({"sampler": {"names": "tpe"}},
         "study.yaml: sampler.names: unknown setting; did you mean sampler.name?"),
        ({"pruner": {"name": "medain"}},
         "study.yaml: pruner.name: input should be 'none', 'median', 'percentile', 'halving', "
         "'hyperband', 'patient' or 'curve' (got 'medain')"),
        ({"objective": {"metric": "val/dice", "direction": "minimize"}},
         "study.yaml: objective: direction of val/dice must be maximize"),
        ({"objective": {"direction": "maximize"}},
         "study.yaml: objective: direction of val/dice_loss must be minimize"),
        ({"id": "x" + "0" * 32},
         "study.yaml: id: string should match pattern '^[0-9a-f]{32}$', or null "
         f"(got 'x{'0' * 32}')"),
        ({"format": 2}, "study.yaml: format: input should be 1 (got 2)"),
    ],
)  # fmt: skip
def test_wrong_study_is_refused_with_what_would_be_right(
    value: dict[str, Any], problem: str
) -> None:
    assert study_problems(value) == [problem]


@pytest.mark.parametrize(
    "shares", [[0.8, 0.1, 0.2], [0, 0.9, 0.1], [0.9, 0, 0.1], [0.9, 0.2, -0.1]]
)
def test_split_shares_must_add_up_and_leave_train_and_val(shares: list[float]) -> None:
    shares = [float(share) for share in shares]
    (problem,) = study_problems({"split": {"fractions": shares}})
    assert problem.startswith("study.yaml: split.fractions: must be train, val, test shares that")


def test_split_may_have_no_test_share() -> None:
    config = StudyConfig.from_mapping({"split": {"fractions": [0.7, 0.3, 0.0]}})
    assert config.split.fractions == (0.7, 0.3, 0.0)
