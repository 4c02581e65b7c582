"""Values that the network libraries reject are reported with their line in the space."""

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import ConfigError
from harness.search.definition.component_checks import check_losses
from harness.search.definition.network_checks import LocalNetworks, legal_names
from harness.search.definition.network_library import may_use_weights
from harness.space.reading.load_space import read_space
from tests.search.fakes import definition_of

MULTICLASS = {"task": "multiclass", "classes": ["back", "nucleus", "rim"]}
SPACE = """\
parameters:
  model.arch: {choices: [Unet, DeepLabV3, attention_unet]}
  decoder_channels: {choices: [[8, 8, 8, 8, 8], 64, x], when: {arch: [Unet, DeepLabV3]}}
  model.options.aspp_rates: {choices: [[6, 12], [6, 0]], when: {model.arch: attention_unet}}
  model.encoder_name: {choices: [resnet18, resnet34]}
"""


def test_values_that_no_architecture_takes_are_named_with_their_line(tmp_path: Path) -> None:
    """U-Net accepts a list and DeepLabV3 a number; no network accepts x."""
    file = tmp_path / "s.yaml"
    file.write_text(SPACE, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_space(file, legal=legal_names())
    lines = [line.removeprefix(f"{tmp_path}/") for line in caught.value.problems]
    assert [line.split(": ")[:2] for line in lines] == [
        ["s.yaml:3", "model.options.decoder_channels"],
        ["s.yaml:4", "model.options.aspp_rates"],
        ["s.yaml:5", "model.encoder_name"],
    ]
    assert "a list" in lines[0] and "'x'" in lines[0]
    assert "greater than or equal to 1" in lines[1]
    assert "add `when: {model.arch: [Unet, DeepLabV3]}`" in lines[2]


@pytest.mark.parametrize("ce", [{"low": 0.1, "high": 1.0}, {"choices": [0, 1]}])
def test_class_weights_act_where_some_draw_has_their_loss(ce: dict[str, Any]) -> None:
    fixed = {"loss.bce": 0, "loss.class_weights": "balanced"}
    searched = {"loss.dice": {"low": 0.0, "high": 1.0}, "loss.ce": ce}
    check_losses(definition_of({"parameters": searched, "fixed": fixed}, data=MULTICLASS))
    searched = {"loss.dice": searched["loss.dice"], "loss.jaccard": ce}
    with pytest.raises(ConfigError, match=r"class_weights: act in loss\.ce and loss\.focal, both"):
        check_losses(definition_of({"parameters": searched, "fixed": fixed}, data=MULTICLASS))


def test_searched_weight_that_the_task_has_no_use_for_is_named() -> None:
    searched = {"loss.bce": {"low": 0.0, "high": 1.0}, "loss.dice": {"low": 0.0, "high": 1.0}}
    with pytest.raises(ConfigError, match=r"loss\.bce: acts in two-class and .*; use loss\.ce"):
        check_losses(definition_of({"parameters": searched}, data=MULTICLASS))


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({"fixed": {"model.arch": "Unet"}}, True),
        ({"fixed": {"model.arch": "Unet", "model.encoder_weights": None}}, False),
        ({"parameters": {"model.encoder_weights": {"choices": [None, "imagenet"]}}}, True),
        ({"fixed": {"model.arch": "attention_unet"}}, False),
        ({"parameters": {"model.arch": {"choices": ["attention_unet", "FPN"]}}}, True),
    ],
)
def test_studies_with_pretrained_weights_are_known(space: dict[str, Any], expected: bool) -> None:
    rates = {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    space = {"parameters": rates | space.get("parameters", {}), "fixed": space.get("fixed", {})}
    assert may_use_weights(definition_of(space), LocalNetworks()) == expected
