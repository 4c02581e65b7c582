from typing import get_args

import pytest
import segmentation_models_pytorch as smp
import timm
from torch import nn

from harness.config import components
from harness.config.study import ModelConfig
from harness.config.trial import EncoderWeightsName
from harness.core.errors import ConfigError
from harness.models.build import build_network, split_parameters
from harness.models.registry import ARCHS, check_model, encoder_names, inactive_keys, option_names
from harness.models.weights import licence_of


def test_archs_are_those_of_the_library() -> None:
    assert sorted(name.lower() for name in ARCHS) == sorted(smp.MODEL_ARCHITECTURES_MAPPING)
    assert len(ARCHS) == 12


def test_encoder_names_are_those_of_the_library() -> None:
    assert list(encoder_names()) == smp.encoders.get_encoder_names()


def test_every_weights_of_the_library_are_legal_where_they_exist_and_nowhere_else() -> None:
    offered = {n: set(e["pretrained_settings"]) for n, e in smp.encoders.encoders.items()}
    names = set.union(*offered.values())
    assert set(get_args(EncoderWeightsName)) == names and len(names) == 9
    for encoder, having in offered.items():
        for weights in names:
            model = ModelConfig.model_validate(
                {"encoder_name": encoder, "encoder_weights": weights}
            )
            if weights in having:
                check_model(model)
            else:
                with pytest.raises(
                    ConfigError, match=rf"{encoder} has no .* weights \(it has only"
                ):
                    check_model(model)


@pytest.mark.parametrize(
    ("encoder", "weights", "in_timm"),
    [
        ("resnet18", "ssl", "resnet18.fb_ssl_yfcc100m_ft_in1k"),
        ("resnet18", "swsl", "resnet18.fb_swsl_ig1b_ft_in1k"),
        ("resnext101_32x8d", "instagram", "resnext101_32x8d.fb_wsl_ig1b_ft_in1k"),
        ("efficientnet-b0", "advprop", "tf_efficientnet_b0.ap_in1k"),
        ("timm-efficientnet-b0", "noisy-student", "tf_efficientnet_b0.ns_jft_in1k"),
        ("timm-efficientnet-l2", "noisy-student-475", "tf_efficientnet_l2.ns_jft_in1k_475"),
    ],
)
def test_licences_of_weights_are_those_that_timm_states(
    encoder: str, weights: str, in_timm: str
) -> None:
    settings = timm.get_pretrained_cfg(in_timm)
    assert settings is not None
    named = {"cc-by-nc-4.0": "CC BY-NC 4.0: non-commercial", "apache-2.0": "Apache 2.0"}
    assert licence_of(encoder, weights).endswith(named[str(settings.license)])


def test_option_names_are_the_remaining_arguments_of_the_constructor() -> None:
    assert option_names("Unet") == (
        "decoder_use_norm",
        "decoder_channels",
        "decoder_attention_type",
        "decoder_interpolation",
    )
    assert option_names("DeepLabV3")[0] == "encoder_output_stride"
    assert option_names("Linknet") == ("decoder_use_norm",)


@pytest.mark.parametrize("arch", ARCHS)
def test_option_names_leave_out_what_decides_the_size_and_meaning_of_the_output(arch: str) -> None:
    assert not {"upsampling", "activation", "classes", "aux_params"} & set(option_names(arch))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arch": "unet"}, "model.arch: unknown architecture 'unet'; did you mean Unet?"),
        ({"arch": "Xyz"}, "choose from DPT, DeepLabV3, "),
        (
            {"encoder_name": "resnet43"},
            "model.encoder_name: unknown encoder 'resnet43'; did you mean resnet34?",
        ),
        ({"encoder_name": "convnext_tiny"}, "did you mean tu-convnext_tiny?"),
        ({"encoder_name": "tu-resnt18"}, "timm has no model 'resnt18'; did you mean tu-resnet18?"),
        (
            {"encoder_name": "tu-resnet18.a1_in1x"},
            "timm has no weights 'a1_in1x' for resnet18; did you mean a1_in1k?",
        ),
        (
            {"encoder_name": "dpn92"},
            "dpn92 has no imagenet weights (it has only imagenet+5k); set model.encoder_weights to "
            "imagenet+5k or null",
        ),
        (
            {"encoder_name": "resnet34", "encoder_weights": "swsl"},
            "resnet34 has no swsl weights (it has only imagenet); set model.encoder_weights to "
            "imagenet or null",
        ),
        (
            {"encoder_name": "tu-resnet18", "encoder_weights": "ssl"},
            "tu-resnet18 has no ssl weights (timm's weights are named by a tag of the encoder, "
            "e.g. tu-resnet18.",
        ),
        ({"encoder_name": "tu-hf-hub:someone/net"}, "timm has no model 'hf-hub:someone/net'"),
        (
            {"options": {"decoder_atention_type": "scse"}},
            "model.options.decoder_atention_type: unknown option of Unet; "
            "did you mean decoder_attention_type?",
        ),
        ({"options": {"upsampling": 2}}, "model.options.upsampling: unknown option of Unet"),
        ({"arch": "DPT", "encoder_depth": 4}, "DPT supports only vision transformers of timm"),
        (
            {"arch": "DPT", "encoder_name": "tu-vit_tiny_patch16_224"},
            "model.encoder_depth: DPT supports only 4 (got 5)",
        ),
    ],
)
def test_check_model_names_what_is_wrong_and_the_nearest_right_name(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_model(ModelConfig.model_validate(settings))
    assert message in str(caught.value)
    assert len(caught.value.problems) == 1


def test_check_model_reports_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        check_model(ModelConfig(arch="Linknet", encoder_name="resnet43", options={"a": 1, "b": 2}))
    assert len(caught.value.problems) == 3


def test_check_model_refuses_pretrained_weights_that_timm_does_not_have() -> None:
    name = next(n for n in timm.list_models() if not timm.models.is_model_pretrained(n))
    with pytest.raises(ConfigError, match=f"tu-{name} has no imagenet weights"):
        check_model(ModelConfig(encoder_name=f"tu-{name}"))
    check_model(ModelConfig(encoder_name=f"tu-{name}", encoder_weights=None))


@pytest.mark.parametrize("name", ["resnet34", "tu-mobilenetv3_large_100", "tu-resnet18.a1_in1k"])
def test_check_model_accepts_native_and_timm_encoders(name: str) -> None:
    check_model(ModelConfig(encoder_name=name))


TRAINING_ENCODERS = {"optim.encoder_lr", "optim.encoder_lr_scale", "train.freeze_encoder_epochs"}


class Own(nn.Module):
    """With a way down of its own, under the name that rates and freezing go by, or another."""

    def __init__(self, in_channels: int, classes: int, name: str) -> None:
        super().__init__()
        setattr(self, name, nn.Conv2d(in_channels, classes, 1))


def test_rates_and_freezing_of_an_encoder_idle_where_a_network_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(components, "_COMPONENTS", dict(components._COMPONENTS))

    def bare(in_channels: int, classes: int) -> nn.Module:
        return Own(in_channels, classes, "down")

    def with_own(in_channels: int, classes: int) -> nn.Module:
        return Own(in_channels, classes, "encoder")

    def broken(in_channels: int, classes: int) -> nn.Module:
        raise ValueError("no")

    for build in (bare, with_own, broken):
        components.network(origin="parts.py")(build)
    expected = {"Unet": set(), "fcn": set(), "attention_unet": set(), "bare": TRAINING_ENCODERS,
                "with_own": set(), "broken": set()}  # fmt: skip
    assert {arch: inactive_keys(arch) & TRAINING_ENCODERS for arch in expected} == expected
    network = build_network(
        ModelConfig(arch="attention_unet", options={"base_channels": 4}), classes=1
    )
    assert split_parameters(network)[0], "a rate of its own acts on the way down"
