import json
import re
from typing import Any

import pytest
from torch import nn

from harness.preflight.build_check import try_build
from harness.preflight.encoder_cache import EncoderCache
from harness.preflight.network_key import NetworkKey, PreflightSetting


def verdict(arch: str, encoder: str = "resnet18", depth: int = 5, size: int = 64, **options: Any):
    network = NetworkKey(arch, encoder, depth, json.dumps(options), (size, size))
    return try_build(network, PreflightSetting(), (1, 2))


@pytest.mark.parametrize(
    ("arch", "encoder", "depth", "size", "kind", "words"),
    [
        ("UPerNet", "resnet18", 2, 64, "depth", "depth"),
        ("DPT", "tu-vit_tiny_patch16_224", 3, 64, "depth", "DPT supports only 4"),
        ("DeepLabV3", "vgg11", 5, 64, "dilation", "dilates its encoder, vgg11"),
        ("PAN", "tu-hrnet_w18_small", 3, 64, "dilation", "tu-hrnet_w18_small"),
        ("FPN", "resnet18", 5, 72, "size", "divisible by 32"),
        ("PAN", "resnet18", 5, 64, "size", "too small"),
        ("DPT", "resnet18", 4, 64, "encoder", "vision transformers"),
        ("Linknet", "mit_b0", 5, 64, "encoder", "not supported for Linknet"),
        ("Unet", "tu-vit_tiny_patch16_224", 4, 64, "encoder", "downsampling pattern"),
    ],
)
def test_reason_is_named(
    arch: str, encoder: str, depth: int, size: int, kind: str, words: str
) -> None:
    against = verdict(arch, encoder, depth, size).refusals
    reason = against[2]
    assert reason is not None and reason.kind == kind and words in reason.text
    assert "\n" not in reason.text
    assert against[1] is not None


def test_batch_of_one_is_named_and_two_are_possible() -> None:
    against = verdict("DeepLabV3", depth=4).refusals
    assert against[2] is None
    assert against[1] is not None and against[1].kind == "batch"
    assert "use train.batch_size 2 or more" in against[1].text


@pytest.mark.parametrize("arch", ["DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet"])
def test_larger_images_are_no_advice_where_whole_images_are_pooled(arch: str) -> None:
    reason = verdict(arch, depth=4, size=256).refusals[1]
    assert reason is not None and reason.kind == "batch" and "image_size" not in reason.text


@pytest.mark.parametrize("size", [(72, 72), (64, 90), (20, 20)])
def test_advised_image_sizes_work(size: tuple[int, int]) -> None:
    network = NetworkKey("FPN", "resnet18", 5, "{}", size)
    reason = try_build(network, PreflightSetting(), (2,)).refusals[2]
    assert reason is not None and reason.kind == "size"
    advised = reason.text.partition("set data.image_size to ")[2].split(" or ")
    for text in advised:
        side = json.loads(text)
        pair = (side, side) if isinstance(side, int) else tuple(side)
        again = NetworkKey("FPN", "resnet18", 5, "{}", pair)
        assert try_build(again, PreflightSetting(), (2,)).refusals == {2: None}, text


@pytest.mark.parametrize("arch", ["DPT"])
def test_advised_encoder_works(arch: str) -> None:
    reason = verdict(arch, "resnet18", 4).refusals[2]
    assert reason is not None
    (advised,) = re.findall(r"e\.g\. (tu-\w+)", reason.text)
    assert verdict(arch, advised, 4).refusals[2] is None


def test_advice_to_enlarge_is_followed_with_success() -> None:
    """At depth 5 the last stage of 32 pixels is a single one."""
    reason = verdict("Unet", size=32).refusals[1]
    assert reason is not None
    assert reason.text.endswith("(and at least two training images), or data.image_size 64")
    assert verdict("Unet", size=64).refusals[1] is None


@pytest.mark.parametrize(
    "encoder",
    [
        "tu-samvit_base_patch16_224",
        "tu-naflexvit_base_patch16_gap",
        "tu-beit_base_patch16_224",
        "tu-vit_relpos_small_patch16_224",
        "tu-vit_small_patch16_dinov3",
        "tu-vit_tiny_patch16_224",
    ],
)
def test_dpt_takes_transformers_however_they_are_told_the_size(encoder: str) -> None:
    network = NetworkKey("DPT", encoder, 4, "{}", (64, 96))
    assert try_build(network, PreflightSetting(channels=4), (2,)).refusals == {2: None}


@pytest.mark.parametrize("encoder", ["tu-vit_small_patch14_dinov2", "tu-eva02_tiny_patch14_224"])
def test_patches_that_dpt_cannot_use_are_named_with_encoders_that_it_can(encoder: str) -> None:
    reason = verdict("DPT", encoder, 4, size=224).refusals[2]
    assert reason is not None and reason.kind == "encoder"
    assert f"{encoder} has patches of 14 pixels, and DPT's decoder needs 8, 16" in reason.text
    for advised in re.findall(r"tu-\w+", reason.text.partition("choose")[2]):
        assert verdict("DPT", advised, 4, size=224).refusals[2] is None


def test_option_that_the_library_would_swallow_is_impossible() -> None:
    reason = verdict("Unet", decoder_use_batchnom=True).refusals[2]
    assert reason is not None and reason.kind == "option"
    assert "unknown option of Unet" in reason.text


class Half(nn.Module):
    """Answers at half the size."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, classes, 3, stride=2, padding=1)

    def forward(self, x: Any) -> Any:
        return self.conv(x)


class ByValue(nn.Module):
    """Looks at the values it is given, which the meta device has not."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, classes, 1)

    def forward(self, x: Any) -> Any:
        return self.conv(x) if x.sum().item() < 1 else None


def judged(monkeypatch: pytest.MonkeyPatch, network: type[nn.Module]) -> Any:
    monkeypatch.setattr(
        "harness.preflight.build_check.build_network",
        lambda model, *, classes, in_channels, **_: network(in_channels, classes),
    )
    return verdict("Unet", size=32)


def test_wrong_output_size_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = judged(monkeypatch, Half).refusals[2]
    assert reason.kind == "output"
    assert reason.text == "wrong output size: returns (2, 1, 16, 16) instead of (2, 1, 32, 32)"


def test_network_that_asks_for_values_is_tried_with_values(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(monkeypatch, ByValue)
    assert found.refusals == {1: None, 2: None}
    assert found.n_parameters == 4
    assert found.gflops == pytest.approx(2 * 3 * 32 * 32 / 1e9)


def test_shared_encoders_leave_answers_and_costs_as_they_are() -> None:
    shared = EncoderCache()
    networks = [
        NetworkKey(arch, encoder, 4, "{}", (64, 64))
        for encoder in ("resnet18", "mit_b0")
        for arch in ("Unet", "MAnet", "PSPNet", "DeepLabV3Plus")
    ]
    together = [try_build(network, PreflightSetting(), (1, 2), shared) for network in networks]
    assert together == [try_build(network, PreflightSetting(), (1, 2)) for network in networks]
