"""Advice in messages: a user who follows it word for word gets a valid space or study."""

import re
from pathlib import Path
from typing import Any

import pytest

from harness.config.data import StudyDataConfig
from harness.config.study import LossConfig, ObjectiveConfig
from harness.core.errors import ConfigError
from harness.training.loss.task_checks import check_loss_for_task, check_objective_for_task
from tests.space.spaces import problems_of, space_of

BINARY = StudyDataConfig()
THREE = StudyDataConfig(task="multiclass", classes=("a", "b", "c"))
LABELS = StudyDataConfig(task="multilabel", classes=("a", "b"))


@pytest.mark.parametrize(
    ("text", "message", "followed"),
    [
        (
            "parameters: {optim.lr: {low: 1e-2, high: 1e-3}}",
            r"low 0\.01 is above high 0\.001; swap them",
            "parameters: {optim.lr: {low: 1e-3, high: 1e-2}}",
        ),
        (
            "parameters: {data.subset: {low: 0.2, high: 0.9, step: 0.2}}",
            r"high 0\.9 is not reached .*; write 0\.8",
            "parameters: {data.subset: {low: 0.2, high: 0.8, step: 0.2}}",
        ),
        (
            "parameters: {loss.dice: {low: 0, high: 1}}",
            r"write 0\.0 and 1\.0 to allow every number in between, or choices: \[0, 1\]",
            "parameters: {loss.dice: {low: 0.0, high: 1.0}}",
        ),
        (
            "parameters: {loss.dice: {low: 0, high: 1}}",
            r"or choices: \[0, 1\]",
            "parameters: {loss.dice: {choices: [0, 1]}}",
        ),
        (
            "parameters: {optim.lr: {choices: ['1e-4']}}",
            r"remove the quotes",
            "parameters: {optim.lr: {choices: [1e-4]}}",
        ),
        (
            "parameters: {train.checkpoint_s: {low: 1.0, high: 9.0}}",
            r"put it under fixed:",
            "fixed: {train.checkpoint_s: 9.0}",
        ),
        (
            "parameters: {optim.grad_clip: {choices: ['None', 1.0]}}",
            r"valid number, or null \(got 'None'\)",
            "parameters: {optim.grad_clip: {choices: [null, 1.0]}}",
        ),
        (
            "parameters:\n  model.arch: {choices: [Unet, FPN]}\n"
            "fixed: {model.options.decoder_dropout: 0.1}",
            r"search it instead, as {value: …, when: {model\.arch: \[FPN\]}}",
            "parameters:\n  model.arch: {choices: [Unet, FPN]}\n"
            "  model.options.decoder_dropout: {value: 0.1, when: {model.arch: [FPN]}}",
        ),
        (
            "parameters:\n  model.arch: {choices: [Unet, FPN]}\n"
            "  model.options.decoder_dropout: {choices: [0.1, 0.2]}",
            r"add `when: {model\.arch: \[FPN\]}`",
            "parameters:\n  model.arch: {choices: [Unet, FPN]}\n"
            "  model.options.decoder_dropout: {choices: [0.1, 0.2], when: {model.arch: [FPN]}}",
        ),
    ],
)
def test_advice_about_a_space_is_taken_when_followed(
    text: str, message: str, followed: str, tmp_path: Path
) -> None:
    (line,) = problems_of(f"{text}\n", tmp_path)
    assert re.search(message, line), line
    space_of(f"{followed}\n", tmp_path)


@pytest.mark.parametrize("data", [BINARY, LABELS], ids=["binary", "multilabel"])
def test_advised_objective_is_one_of_the_task(data: StudyDataConfig) -> None:
    with pytest.raises(
        ConfigError, match=r"val/miou is of multiclass tasks; use val/\w+"
    ) as caught:
        check_objective_for_task(ObjectiveConfig(metric="val/miou", direction="maximize"), data)
    advised = str(caught.value).rpartition("use ")[2]
    check_objective_for_task(ObjectiveConfig.model_validate({"metric": advised}), data)


@pytest.mark.parametrize("data", [THREE, LABELS], ids=["multiclass", "multilabel"])
def test_advised_losses_let_class_weights_act(data: StudyDataConfig) -> None:
    weights = (1.0,) * len(data.classes)
    none: dict[str, Any] = {"dice": 1.0, "bce": 0.0, "class_weights": weights}
    with pytest.raises(ConfigError, match=r"set one above 0, or null") as caught:
        check_loss_for_task(LossConfig(**none), data)
    advised = re.findall(r"loss\.(bce|ce|focal)", str(caught.value))
    assert advised[-1] == "focal"
    for name in advised:
        check_loss_for_task(LossConfig(**none | {name: 1.0}), data)
    check_loss_for_task(LossConfig(**none | {"class_weights": None}), data)


def test_advised_loss_of_several_classes_is_taken() -> None:
    with pytest.raises(ConfigError, match=r"use loss\.ce$"):
        check_loss_for_task(LossConfig(bce=1.0), THREE)
    check_loss_for_task(LossConfig(bce=0.0, ce=1.0), THREE)
