from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.encoders import encoders as native_encoders
from torch import nn

from harness.config.study import ModelConfig
from harness.core.errors import ConfigError, WeightsError
from harness.models.build import build_network, split_parameters
from harness.models.registry import ARCHS
from harness.models.serialization import load_network, save_network

VIT = "tu-vit_tiny_patch16_224"
DEPTHS = {
    **dict.fromkeys(("Unet", "UnetPlusPlus", "MAnet", "Linknet"), (2, 3, 4, 5)),
    **dict.fromkeys(("PSPNet", "DeepLabV3"), (2, 3, 4, 5)),
    **dict.fromkeys(("FPN", "DeepLabV3Plus", "PAN", "UPerNet", "Segformer"), (3, 4, 5)),
    "DPT": (4,),
}
SMALL: dict[str, dict[str, Any]] = {
    "UPerNet": {"decoder_channels": 16},
    "DeepLabV3": {"decoder_channels": 16},
    "FPN": {"decoder_pyramid_channels": 16},
    "MAnet": {"decoder_pab_channels": 8},
    "Unet": {"decoder_attention_type": "scse"},
    "DPT": {"decoder_intermediate_channels": [16, 16, 16, 16], "decoder_fusion_channels": 16},
}
EVERY = [(arch, depth) for arch in ARCHS for depth in DEPTHS[arch]]


def model(
    arch: str = "Unet", depth: int = 4, encoder: str = "resnet18", **rest: Any
) -> ModelConfig:
    encoder = VIT if arch == "DPT" else encoder
    return ModelConfig(
        arch=arch, encoder_name=encoder, encoder_depth=depth, encoder_weights=None, **rest
    )


def answer(network: nn.Module, height: int = 128, width: int = 160) -> torch.Tensor:
    """Its logits of one fixed picture."""
    picture = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits: torch.Tensor = network.eval()(picture)
    return logits


@pytest.mark.parametrize(("arch", "depth"), EVERY)
def test_logits_have_the_size_of_the_input(arch: str, depth: int) -> None:
    network = build_network(model(arch, depth, options=SMALL.get(arch, {})), classes=2)
    assert answer(network).shape == (1, 2, 128, 160)


@pytest.mark.parametrize("arch", ARCHS)
def test_answers_are_logits_not_probabilities(arch: str) -> None:
    """A bias of the last layer comes out unchanged: there is no activation after it."""
    network: Any = build_network(model(arch, 4))
    before = answer(network)
    layers = list(network.segmentation_head.modules())
    last: Any = [layer for layer in layers if isinstance(layer, nn.Conv2d)][-1]
    last.bias.data -= 5.0
    torch.testing.assert_close(answer(network), before - 5.0, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("arch", "depth"), EVERY)
def test_networks_can_be_built_without_memory(arch: str, depth: int) -> None:
    with torch.device("meta"):
        network = build_network(model(arch, depth))
        logits = network.eval()(torch.empty(1, 3, 128, 160))
    assert logits.device.type == "meta" and logits.shape == (1, 1, 128, 160)


@pytest.mark.parametrize(("arch", "depth"), [(arch, DEPTHS[arch][0]) for arch in ARCHS])
def test_saved_network_is_rebuilt_by_the_library_alone(
    arch: str, depth: int, tmp_path: Path, no_network: list[object]
) -> None:
    network: Any = build_network(model(arch, depth, options=SMALL.get(arch, {})))
    network.save_pretrained(tmp_path)
    again = smp.from_pretrained(tmp_path)
    assert type(again) is getattr(smp, arch)
    torch.testing.assert_close(answer(again), answer(network), rtol=0, atol=0)
    assert no_network == []


def test_saved_network_with_timm_encoder_is_rebuilt(tmp_path: Path) -> None:
    network: Any = build_network(model("FPN", 3, encoder="tu-mobilenetv3_small_050"))
    network.save_pretrained(tmp_path)
    torch.testing.assert_close(answer(smp.from_pretrained(tmp_path)), answer(network))


@pytest.mark.parametrize("arch", [arch for arch in ARCHS if DEPTHS[arch][0] == 3])
def test_depth_below_what_the_architecture_takes_is_a_configuration_error(arch: str) -> None:
    with pytest.raises(
        ConfigError, match=f"{arch} cannot be built with resnet18 at encoder_depth 2"
    ):
        build_network(model(arch, 2))


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_decoder_width_at_full_size_does_not_depend_on_the_depth(depth: int) -> None:
    network: Any = build_network(model("Unet", depth))
    assert network.segmentation_head[0].in_channels == 16
    assert len(network.decoder.blocks) == depth


@pytest.mark.parametrize("channels", [[32, 16], 32, None])
def test_decoder_channels_must_follow_the_depth(channels: Any) -> None:
    with pytest.raises(ConfigError, match=r"decoder_channels: .*a list( of 3 numbers)? .*\(got"):
        build_network(model("Unet", 3, options={"decoder_channels": channels}))


def test_given_decoder_channels_are_used() -> None:
    network: Any = build_network(model("Unet", 3, options={"decoder_channels": [24, 16, 8]}))
    assert network.segmentation_head[0].in_channels == 8


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("Unet", {"decoder_attention_type": "cbam"}),
        ("FPN", {"decoder_merge_policy": "mean"}),
        ("PAN", {"encoder_output_stride": 8}),
        ("DPT", {"decoder_readout": "first"}),
    ],
)
def test_illegal_value_of_an_option_is_a_configuration_error(
    arch: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        build_network(model(arch, 4, options=options))


def test_unknown_name_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ConfigError, match=r"model.arch: unknown architecture 'Unett'"):
        build_network(model("Unett"))


@pytest.mark.parametrize("arch", ARCHS)
def test_split_parameters_divides_all_of_them(arch: str) -> None:
    network: Any = build_network(model(arch, 4))
    encoder, rest = split_parameters(network)
    assert {id(p) for p in encoder} == {id(p) for p in network.encoder.parameters()}
    assert len(encoder) + len(rest) == len(list(network.parameters()))
    assert encoder and rest and not {id(p) for p in encoder} & {id(p) for p in rest}


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """A state with other values than any other network's."""
    generator = torch.Generator().manual_seed(7)
    return {
        name: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }


@pytest.mark.parametrize("arch", ["Linknet", "fcn"])
def test_native_weights_come_from_the_local_cache(
    hub: Callable[..., Path], no_network: list[object], tmp_path: Path, arch: str
) -> None:
    source = native_encoders["mobilenet_v2"]["pretrained_settings"]["imagenet"]
    expected = weights_of(smp.encoders.get_encoder("mobilenet_v2", depth=3, weights=None))
    hub(source["repo_id"], expected, revision=source["revision"])
    network: Any = build_network(
        ModelConfig(arch=arch, encoder_name="mobilenet_v2", encoder_depth=3)
    )
    for name, value in network.encoder.state_dict().items():
        assert torch.equal(value, expected[name]), name
    (tmp_path / "model").mkdir()
    save_network(network, tmp_path / "model")
    load_network(tmp_path / "model")
    assert no_network == []


def test_native_weights_are_spread_over_other_channels_as_the_library_does(
    hub: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = native_encoders["mobilenet_v2"]["pretrained_settings"]["imagenet"]
    weights = weights_of(smp.encoders.get_encoder("mobilenet_v2", depth=3, weights=None))
    hub(source["repo_id"], weights, revision=source["revision"])
    ours: Any = build_network(
        ModelConfig(arch="Unet", encoder_name="mobilenet_v2", encoder_depth=3), in_channels=4
    )
    first = weights["features.0.0.weight"]
    expected = torch.stack([first[:, k % 3] for k in range(4)], dim=1) * 3 / 4
    torch.testing.assert_close(ours.encoder.state_dict()["features.0.0.weight"], expected)


@pytest.mark.parametrize(
    ("arch", "encoder", "repo"),
    [
        ("Linknet", "tu-resnet10t", "timm/resnet10t.c3_in1k"),
        ("fcn", "tu-resnet10t", "timm/resnet10t.c3_in1k"),
        ("DPT", VIT, "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
    ],
)
def test_timm_weights_come_from_the_local_cache(
    hub: Callable[..., Path],
    no_network: list[object],
    tmp_path: Path,
    arch: str,
    encoder: str,
    repo: str,
) -> None:
    whole = weights_of(timm.create_model(encoder.removeprefix("tu-")))
    hub(repo, whole)
    network: Any = build_network(ModelConfig(arch=arch, encoder_name=encoder, encoder_depth=4))
    first = next(
        name for name in whole if name.endswith(("conv1.0.weight", "patch_embed.proj.weight"))
    )
    assert torch.equal(network.encoder.model.state_dict()[first], whole[first])
    assert all(torch.equal(v, whole[n]) for n, v in network.encoder.model.state_dict().items())
    (tmp_path / "model").mkdir()
    save_network(network, tmp_path / "model")
    text = (tmp_path / "model" / "config.json").read_text()
    assert str(tmp_path) not in text
    torch.testing.assert_close(answer(load_network(tmp_path / "model")), answer(network))
    assert no_network == []


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
def test_weights_that_are_not_cached_are_an_error_that_names_the_way_out(
    hub: Callable[..., Path], no_network: list[object], encoder: str
) -> None:
    with pytest.raises(WeightsError, match=rf"{encoder}.*--set model\.encoder_weights=null"):
        build_network(ModelConfig(encoder_name=encoder))
    build_network(ModelConfig(encoder_name=encoder), pretrained=False)
    assert no_network == []


def test_encoders_made_for_one_size_are_built_for_that_of_the_images(tmp_path: Path) -> None:
    small = model(
        "Unet", 4, "tu-swin_tiny_patch4_window7_224", options={"decoder_channels": [8] * 4}
    )
    network = build_network(small, image_size=(64, 96))
    assert answer(network, 64, 96).shape == (1, 1, 64, 96)
    save_network(network, tmp_path)
    torch.testing.assert_close(answer(load_network(tmp_path), 64, 96), answer(network, 64, 96))
