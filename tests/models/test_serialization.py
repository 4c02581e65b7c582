"""Networks written to a folder and read back."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

import harness
from harness.config import components
from harness.config.study import ModelConfig, OptimConfig
from harness.config.user_code import read_parts_file, register_parts_file
from harness.core.errors import ConfigError
from harness.models.build import build_network, split_parameters
from harness.models.registry import archs, check_model, inactive_keys, option_names
from harness.models.serialization import load_network, save_network
from harness.training.optim.optimizer import build_optimizer, set_train_mode

SMALL = {
    "Unet": ModelConfig(encoder_name="resnet18", encoder_weights=None, encoder_depth=3),
    "fcn": ModelConfig(
        arch="fcn", encoder_name="resnet18", encoder_weights=None, options={"stride": 16}
    ),
    "attention_unet": ModelConfig(
        arch="attention_unet",
        encoder_depth=2,
        options={"base_channels": 4, "aspp": True, "aspp_rates": [1, 2]},
    ),
}


@pytest.mark.parametrize("arch", SMALL)
def test_what_is_saved_comes_back(arch: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(SMALL[arch], classes=2, in_channels=4).eval()
    save_network(network, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md"}
    again = load_network(tmp_path)
    image = torch.rand(1, 4, 32, 64)
    with torch.no_grad():
        assert torch.equal(again(image), network(image))
    (tmp_path / "again").mkdir()
    save_network(again, tmp_path / "again")
    with torch.no_grad():
        assert torch.equal(load_network(tmp_path / "again")(image), network(image))


def test_what_is_no_saved_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a saved network"):
        load_network(tmp_path)
    about = {"format": 2, "network": "fcn", "arguments": {}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="format 2"):
        load_network(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(about | {"format": 1, "network": "fnc"}))
    with pytest.raises(ConfigError, match="unknown architecture 'fnc'; did you mean fcn"):
        load_network(tmp_path)


@pytest.mark.parametrize("arch", SMALL)
def test_the_folder_says_how_it_is_loaded_and_that_works(
    arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_network(build_network(SMALL[arch], classes=2).eval(), tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    loaded: dict[str, Any] = {}
    exec(code, loaded)
    assert loaded["network"](torch.rand(1, 3, 32, 32)).shape == (1, 2, 32, 32)
    if arch == "Unet":
        assert "`smp.from_pretrained('.')`" in card and smp.from_pretrained(tmp_path)
    else:
        with pytest.raises(AttributeError, match=r"call harness\.load_model\(folder\) instead"):
            smp.from_pretrained(tmp_path)


PARTS = """
from torch import nn

from harness import parts


@parts.network("dot")
class Dot(nn.Module):
    def __init__(self, in_channels: int, classes: int, *, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, classes, 1)

    def forward(self, x):
        return self.conv(x)
"""


def test_a_network_of_a_parts_file_is_loaded_with_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components, "_COMPONENTS", dict(components._COMPONENTS))
    file = tmp_path / "mine.py"
    file.write_text(PARTS, encoding="utf-8")
    register_parts_file(read_parts_file(file))
    model = tmp_path / "trials" / "0000" / "best" / "model"
    model.mkdir(parents=True)
    network = build_network(ModelConfig(arch="dot", options={"width": 8}), classes=2).eval()
    save_network(network, model)
    assert "harness.load_model('.', parts='parts.py')" in (model / "README.md").read_text()
    register_parts_file(None)
    message = r"unknown architecture 'dot'.*load_model\(folder, parts=FILE"
    with pytest.raises(ConfigError, match=message):
        harness.load_model(model)
    image = torch.rand(1, 3, 8, 8)
    again = harness.load_model(tmp_path / "trials" / "0000", parts=file)
    assert torch.equal(again(image), network(image))
    register_parts_file(None)


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "another class": ({"_model_class": "os"}, r"config.json names 'os'"),
    "no class": ({"_model_class": None}, r"config.json names None"),
    "timm's file": (
        {"pretrained_cfg_overlay": {"file": "/x.pth"}},
        r"unknown arguments of Unet: pretrained_cfg_overlay$",
    ),
    "from the hub": ({"encoder_name": "tu-hf-hub:somebody/net"}, r"timm has no model"),
    "weights that do not fit": ({"classes": 10**12}, r"does not hold the weights of Unet"),
    "no number": ({"classes": "x"}, r"not a saved network that can be read"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_folders_are_refused(case: str, tmp_path: Path) -> None:
    change, message = HOSTILE[case]
    save_network(build_network(SMALL["Unet"]), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_network(tmp_path)


def test_weights_by_name_are_never_fetched_on_loading(tmp_path: Path) -> None:
    save_network(build_network(SMALL["Unet"]), tmp_path)
    path = tmp_path / "config.json"
    change = {"encoder_weights": "imagenet"}
    path.write_text(json.dumps(json.loads(path.read_text()) | change), encoding="utf-8")
    assert isinstance(load_network(tmp_path), smp.Unet)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    save_network(build_network(SMALL["Unet"]), tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(
        ConfigError, match=r"not a saved network \(it has no file model.safetensors\)"
    ):
        load_network(tmp_path)


def test_ours_stand_beside_those_of_the_library() -> None:
    assert archs()[12:14] == ("attention_unet", "fcn")
    assert option_names("fcn") == ("stride",)
    assert "cbam" in option_names("attention_unet")
    assert inactive_keys("attention_unet") == {"model.encoder_name", "model.encoder_weights"}
    assert inactive_keys("Unet") == inactive_keys("fcn") == frozenset()


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("attention_unet", {"cbma": True}, "model.options.cbma: .* did you mean cbam"),
        ("attention_unet", {"cbam": 1}, "model.options.cbam: .*valid boolean"),
        ("attention_unet", {"aspp_rates": []}, "model.options.aspp_rates: .*at least 1 item"),
        ("fcn", {"stride": 7}, "model.options.stride: .*4, 8, 16 or 32"),
        ("FPN", {"decoder_dropout": "0.2"}, "model.options.decoder_dropout: .*valid number"),
        ("DeepLabV3", {"encoder_output_stride": 4}, "encoder_output_stride: .*8 or 16"),
        (
            "DeepLabV3",
            {"decoder_atrous_rates": [6, 12]},
            "decoder_atrous_rates: .*at least 3 items",
        ),
        ("UPerNet", {"decoder_channels": 0}, "decoder_channels: .*greater than 0"),
        (
            "UPerNet",
            {"decoder_use_norm": "layernorm"},
            "decoder_use_norm: .*'batchnorm', 'identity'",
        ),
        ("Unet", {"decoder_attention_type": "cbam"}, "decoder_attention_type: .*'scse' or null"),
        ("MAnet", {"decoder_interpolation": "linear"}, "decoder_interpolation: .*'bilinear'"),
        ("Unet", {"decoder_channels": [8, 8, 8, 8, 0]}, "decoder_channels: .*greater than 0"),
    ],
)
def test_values_of_options_are_checked(arch: str, options: dict[str, object], message: str) -> None:
    model = ModelConfig.model_validate({"arch": arch, "encoder_weights": None, "options": options})
    with pytest.raises(ConfigError, match=message):
        check_model(model)


def test_a_network_of_somebody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an encoder: one rate for all of it, and nothing to freeze."""
    monkeypatch.setattr(components, "_COMPONENTS", dict(components._COMPONENTS))

    @components.network("dots")
    class Dots(nn.Module):
        def __init__(self, in_channels: int, classes: int, *, width: int = 4) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(in_channels, width, 1), nn.ReLU(), nn.Conv2d(width, classes, 1)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)  # type: ignore[no-any-return]

    assert inactive_keys("dots") >= {"model.encoder_name", "model.encoder_depth"}
    network = build_network(ModelConfig(arch="dots", options={"width": 8}), in_channels=1)
    encoder, rest = split_parameters(network)
    assert encoder == [] and sum(p.numel() for p in rest) == 8 + 8 + 8 + 1
    set_train_mode(network, encoder_frozen=True)
    optimizer = build_optimizer(network, OptimConfig())
    network(torch.rand(1, 1, 4, 4)).sum().backward()
    optimizer.step()
    save_network(network, tmp_path)
    assert isinstance(load_network(tmp_path), Dots)


def test_a_network_that_breaks_its_promises_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_COMPONENTS", dict(components._COMPONENTS))

    @components.network("nothing")
    def nothing(in_channels: int, classes: int) -> None:
        return None

    @components.network("headless")
    def headless(in_channels: int, classes: int, encoder_name: str) -> nn.Module:
        return nn.Conv2d(in_channels, classes, 1)

    with pytest.raises(
        ConfigError, match=r"nothing did not return a torch.nn.Module \(.*test_serialization.py\)"
    ):
        build_network(ModelConfig(arch="nothing"))
    with pytest.raises(ConfigError, match=r"headless has the argument encoder_name but no module"):
        build_network(ModelConfig(arch="headless", encoder_weights=None))
