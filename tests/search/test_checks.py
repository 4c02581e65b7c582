"""What the networks' libraries say about a space, with its lines."""

from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.search.checks import legal_names
from harness.space.reading import read_space

SPACE = """\
parameters:
  model.arch: {choices: [Unet, DeepLabV3, attention_unet]}
  decoder_channels: {choices: [[8, 8, 8, 8, 8], 64, x], when: {arch: [Unet, DeepLabV3]}}
  model.options.aspp_rates: {choices: [[6, 12], [6, 0]], when: {model.arch: attention_unet}}
  model.encoder_name: {choices: [resnet18, resnet34]}
"""


def test_values_that_no_architecture_takes_are_named_with_their_line(tmp_path: Path) -> None:
    """A list serves U-Net and a number DeepLabV3; x serves nobody."""
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
