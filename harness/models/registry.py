"""Which networks there are: architectures, their options, encoders; checked by name only."""

import inspect
from functools import cache

import segmentation_models_pytorch as smp
import timm
from segmentation_models_pytorch.encoders import encoders as native_encoders

from harness.config import ModelConfig
from harness.errors import ConfigError, nearest

_CLASSES: dict[str, type] = {
    network.__name__: network
    for network in (
        smp.Unet,
        smp.UnetPlusPlus,
        smp.MAnet,
        smp.Linknet,
        smp.FPN,
        smp.PSPNet,
        smp.DeepLabV3,
        smp.DeepLabV3Plus,
        smp.PAN,
        smp.UPerNet,
        smp.Segformer,
        smp.DPT,
    )
}
ARCHS: tuple[str, ...] = tuple(_CLASSES)

# Set by other keys of the configuration, or by the promise that logits have the input's size.
_NOT_OPTIONS = {
    "self",
    "encoder_name",
    "encoder_depth",
    "encoder_weights",
    "in_channels",
    "classes",
    "activation",
    "upsampling",
    "aux_params",
    "kwargs",
}
TIMM_PREFIX = "tu-"


def network_class(arch: str) -> type:
    """The class of an architecture. Raises ConfigError for an unknown name."""
    if arch not in _CLASSES:
        raise ConfigError(f"model.arch: no architecture {arch!r}{nearest(arch, ARCHS)}")
    return _CLASSES[arch]


def option_names(arch: str) -> tuple[str, ...]:
    """What `model.options` may set: the other arguments of the architecture's constructor.

    Raises:
        ConfigError: unknown architecture.
    """
    arguments = inspect.signature(network_class(arch).__init__).parameters  # type: ignore[misc]
    return tuple(name for name in arguments if name not in _NOT_OPTIONS)


@cache
def encoder_names() -> tuple[str, ...]:
    """The encoders of segmentation-models-pytorch itself; timm's are named `tu-<name in timm>`."""
    return tuple(native_encoders)


def check_model(model: ModelConfig) -> None:
    """Check every name of a model: architecture, encoder, weights, options.

    Whether the parts fit together is found by building it.

    Raises:
        ConfigError: every problem, each with the nearest right name.
    """
    problems = [*_arch_problems(model), *_encoder_problems(model)]
    if problems:
        raise ConfigError(problems)


def _arch_problems(model: ModelConfig) -> list[str]:
    if model.arch not in ARCHS:
        return [f"model.arch: no architecture {model.arch!r}{nearest(model.arch, ARCHS)}"]
    known = option_names(model.arch)
    problems = [
        f"model.options.{name}: {model.arch} has no such option{nearest(name, known)}"
        for name in model.options
        if name not in known
    ]
    if model.arch == "DPT" and model.encoder_depth != 4:
        problems.append(f"model.encoder_depth: DPT takes 4 only (got {model.encoder_depth})")
    if model.arch == "DPT" and not model.encoder_name.startswith(TIMM_PREFIX):
        problems.append(
            f"model.encoder_name: DPT takes vision transformers of timm only, e.g. "
            f"tu-vit_small_patch16_224 (got {model.encoder_name!r})"
        )
    return problems


def _encoder_problems(model: ModelConfig) -> list[str]:
    name = model.encoder_name
    if name.startswith(TIMM_PREFIX):
        return _timm_problems(name.removeprefix(TIMM_PREFIX), model.encoder_weights)
    if name not in native_encoders:
        known = [*encoder_names(), *(f"{TIMM_PREFIX}{other}" for other in timm.list_models())]
        return [f"model.encoder_name: no encoder {name!r}{nearest(name, known)}"]
    weights = list(native_encoders[name]["pretrained_settings"])
    if model.encoder_weights is not None and model.encoder_weights not in weights:
        return [_no_weights(name, f"it has only {', '.join(weights)}")]
    return []


@cache  # the search through timm's names takes 0.1 s
def _timm_problems(name: str, weights: str | None) -> list[str]:
    if not timm.is_model(name):
        base, _, _ = name.partition(".")
        hint = nearest(base, timm.list_models()).replace("mean ", f"mean {TIMM_PREFIX}")
        return [f"model.encoder_name: timm has no model {name!r}{hint}"]
    base, _, tag = name.partition(".")
    tags = [entry.partition(".")[2] for entry in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        return [f"model.encoder_name: timm has no weights {tag!r} for {base}{nearest(tag, tags)}"]
    if weights is not None and not timm.models.is_model_pretrained(name):
        return [_no_weights(f"{TIMM_PREFIX}{name}", "timm has none")]
    return []


def _no_weights(encoder: str, why: str) -> str:
    return (
        f"model.encoder_weights: {encoder} has no imagenet weights ({why}); "
        "set model.encoder_weights to null"
    )
