"""Preflight says what happens when a network is trained on the CPU, and costs the same."""

from typing import Any

import pytest
import torch
from torch import nn

from harness.config.study import ModelConfig
from harness.models.build import build_network
from harness.preflight.build_check import try_build
from harness.preflight.encoder_cache import EncoderCache
from harness.preflight.network_key import NetworkKey, PreflightSetting
from harness.training.hardware.cost import count_parameters, measure_forward_gflops
from harness.training.loop.network_setup import to_fastest_memory_format

SIZE = 64
DEPTHS = {"Unet": 5, "UnetPlusPlus": 4, "MAnet": 3, "Linknet": 5, "FPN": 5, "PSPNet": 3} | {
    **{"DeepLabV3": 4, "DeepLabV3Plus": 5, "PAN": 3, "UPerNet": 4, "Segformer": 5, "DPT": 4}
}
FEW = ["resnet18", "vgg11_bn", "mit_b0", "tu-resnet10t"]
FAMILIES = [
    *("resnext50_32x4d", "timm-skresnet18", "se_resnet50", "densenet121", "dpn68", "xception"),
    *("inceptionv4", "efficientnet-b0", "timm-efficientnet-b0", "timm-tf_efficientnet_lite0"),
    *(
        "mobilenet_v2",
        "mobileone_s0",
        "tu-nf_resnet26",
        "tu-convnext_atto",
        "tu-mobilenetv3_small_050",
    ),
    *("tu-swin_tiny_patch4_window7_224", "tu-vit_tiny_patch16_224", "tu-hrnet_w18_small"),
    *("tu-ghostnet_050", "tu-efficientvit_b0", "tu-edgenext_xx_small", "tu-mobilevit_xxs"),
    *("tu-pvt_v2_b0", "tu-lcnet_035", "tu-repvgg_a0", "tu-poolformer_s12", "tu-regnetx_002"),
]


def built_really(network: NetworkKey) -> nn.Module | str:
    """The network as it is trained on the CPU, or why it cannot be built."""
    torch.manual_seed(0)
    try:
        built = build_network(network.model, image_size=(SIZE, SIZE))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return to_fastest_memory_format(built, network.encoder_name).train()


def trained(built: nn.Module | str, n: int) -> str | None:
    """Why a forward and backward pass of n images fails on the CPU; None: it does not."""
    if isinstance(built, str):
        return built
    try:
        images = torch.rand(n, SIZE, SIZE, 3).permute(0, 3, 1, 2)
        logits = built(images)
        if logits.shape != (n, 1, SIZE, SIZE):
            return f"output of {tuple(logits.shape)}"
        logits.mean().backward()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def compare(encoders: list[str], depths: dict[str, int]) -> None:
    """The verdicts are taken as they are in a study: one run, encoders shared."""
    shared, wrong = EncoderCache(), []
    for encoder in encoders:
        for arch, depth in depths.items():
            network = NetworkKey(arch, encoder, depth, "{}", (SIZE, SIZE))
            verdict = try_build(network, PreflightSetting(), (1, 2), shared)
            built = built_really(network)
            for n in (1, 2):
                real, said = trained(built, n), verdict.refusals[n]
                if (real is None) != (said is None):
                    wrong.append(f"{network.name}, batch of {n}: {real} · {said}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("encoder", FEW)
def test_verdict_is_what_happens(encoder: str) -> None:
    compare([encoder], DEPTHS)


def test_verdict_is_what_happens_with_networks_of_our_own() -> None:
    compare(["resnet18", "mit_b0"], {"fcn": 5, "attention_unet": 4})


@pytest.mark.slow
@pytest.mark.parametrize("encoder", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_verdict_is_what_happens_in_every_family(encoder: str) -> None:
    compare([encoder], DEPTHS)


@pytest.mark.parametrize(
    ("arch", "encoder", "depth"),
    [
        ("Unet", "resnet18", 5),
        ("UPerNet", "mit_b0", 4),
        ("DPT", "tu-vit_tiny_patch16_224", 4),
        ("PAN", "tu-mobilenetv3_small_050", 3),
    ],
)
def test_costs_are_those_of_a_trial(arch: str, encoder: str, depth: int) -> None:
    network = NetworkKey(arch, encoder, depth, "{}", (96, 64))
    verdict = try_build(network, PreflightSetting(channels=4, classes=3), (2,))
    model = ModelConfig(arch=arch, encoder_name=encoder, encoder_depth=depth, encoder_weights=None)
    built: Any = build_network(model, classes=3, in_channels=4)
    assert verdict.n_parameters == count_parameters(built)
    assert verdict.gflops == pytest.approx(measure_forward_gflops(built, (96, 64), 4), rel=1e-12)
