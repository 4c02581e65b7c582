"""Registry of architectures, their options and encoders; checks names without building."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from pydantic import PositiveInt
from segmentation_models_pytorch.encoders import encoders as native_encoders
from torch import nn

from harness.config import components
from harness.config.catalogue import NETWORKS
from harness.config.component_interface import Component
from harness.config.study import ModelConfig
from harness.core.annotations import annotation_problem
from harness.core.errors import ConfigError, suggest_nearest
from harness.models import attention_unet, fcn
from harness.models.network_names import TIMM_PREFIX, unknown_encoder
from harness.models.options import option_annotation

__all__ = ["TIMM_PREFIX", "attention_unet", "fcn"]  # the last two so that they are registered

_CLASSES: dict[str, type] = {
    entry.name: getattr(smp, entry.name) for entry in NETWORKS.values() if entry.is_library
}
ARCHS: tuple[str, ...] = tuple(_CLASSES)  # of the library only; `archs` lists all

# Set by other keys of the configuration, or fixed because logits must have the input's size.
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
_ENCODER_KEYS = ("model.encoder_name", "model.encoder_weights")
_ENCODER_TRAINING_KEYS = (
    "optim.encoder_lr",
    "optim.encoder_lr_scale",
    "train.freeze_encoder_epochs",
)


def archs() -> tuple[str, ...]:
    """Every architecture: those of the library, built-in ones, then user-defined ones."""
    return (
        *ARCHS,
        *(name for name in components.get_components("network") if name not in _CLASSES),
    )


def network_class(arch: str) -> Callable[..., Any]:
    """Constructor of an architecture. Raises ConfigError for an unknown name."""
    if arch in _CLASSES:
        return _CLASSES[arch]
    if arch not in archs():
        raise ConfigError(
            f"model.arch: unknown architecture "
            f"{arch!r}{suggest_nearest(arch, archs(), max_listed=40)}"
        )
    return components.find_component("network", arch).build


def takes_encoder(arch: str) -> bool:
    """True if an architecture accepts any encoder, with its weights."""
    return arch in _CLASSES or components.find_component("network", arch).accepts("encoder_name")


def inactive_keys(arch: str) -> frozenset[str]:
    """Keys without effect for an architecture."""
    return (
        frozenset()
        if arch in _CLASSES
        else _inactive_keys(components.find_component("network", arch))
    )


@cache
def _inactive_keys(part: Component) -> frozenset[str]:
    inactive = set() if part.accepts("encoder_name") else set(_ENCODER_KEYS)
    if not part.accepts("encoder_depth"):
        inactive.add("model.encoder_depth")
    return frozenset(inactive if _has_encoder(part) else inactive | set(_ENCODER_TRAINING_KEYS))


def _has_encoder(part: Component) -> bool:
    """True if the network has a module `.encoder`, which can have a learning rate and be frozen.

    The network is built on the meta device. If that fails the answer is True, and preflight reports
    the failure.
    """
    if part.accepts("encoder_name"):
        return True
    available = {"in_channels": 3, "classes": 1, "encoder_depth": ModelConfig().encoder_depth}
    try:
        with torch.device("meta"):
            network = part.build(
                **{name: value for name, value in available.items() if part.accepts(name)}
            )
    except Exception:  # user code can raise anything
        return True
    return isinstance(getattr(network, "encoder", None), nn.Module)


def option_names(arch: str) -> tuple[str, ...]:
    """Names that `model.options` may set: the other arguments of the constructor.

    Raises:
        ConfigError: unknown architecture.
    """
    return tuple(_option_parameters(arch))


def _option_parameters(arch: str) -> Mapping[str, inspect.Parameter]:
    build = network_class(arch)
    if arch not in _CLASSES:
        return components.find_component("network", arch).options
    # Needed, since SMP passes unknown arguments of native encoders on and ignores them: a misspelt
    # option would have no effect. timm's encoders raise TypeError instead.
    arguments = inspect.signature(build).parameters
    return {name: parameter for name, parameter in arguments.items() if name not in _NOT_OPTIONS}


@cache
def encoder_names() -> tuple[str, ...]:
    """Encoders of segmentation-models-pytorch itself; those of timm are `tu-<name in timm>`."""
    return tuple(native_encoders)


def check_model(model: ModelConfig) -> None:
    """Check every name of a model: architecture, encoder, weights, options.

    Building the network shows if its parts fit together.

    Raises:
        ConfigError: every problem, each with the nearest right name.
    """
    problems = _arch_problems(model)
    if model.arch not in archs() or takes_encoder(model.arch):
        problems += _encoder_problems(model)
    if problems:
        raise ConfigError(problems)


def _arch_problems(model: ModelConfig) -> list[str]:
    if model.arch not in archs():
        return [
            f"model.arch: unknown architecture "
            f"{model.arch!r}{suggest_nearest(model.arch, archs(), max_listed=40)}"
        ]
    problems = [
        f"model.options.{name}: {problem}"
        for name, value in model.options.items()
        if (problem := option_problem(model.arch, name, value)) is not None
    ]
    # DPT reassembles four stages of a ViT (Ranftl et al. 2021); SMP has no other depth.
    if model.arch == "DPT" and model.encoder_depth != 4:
        problems.append(f"model.encoder_depth: DPT supports only 4 (got {model.encoder_depth})")
    if model.arch == "DPT" and not model.encoder_name.startswith(TIMM_PREFIX):
        problems.append(
            f"model.encoder_name: DPT supports only vision transformers of timm, e.g. "
            f"tu-vit_small_patch16_224 (got {model.encoder_name!r})"
        )
    return problems


def option_problem(arch: str, name: str, value: Any) -> str | None:
    """Reason why an architecture cannot have this option with this value; None if it can.

    The message does not contain the key. Dependence on the encoder or its depth is not checked.

    Raises:
        ConfigError: unknown architecture.
    """
    if arch not in _CLASSES:
        return components.find_component("network", arch).option_problem(name, value)
    options = _option_parameters(arch)
    if name not in options:
        return f"unknown option of {arch}{suggest_nearest(name, options)}"
    annotation = option_annotation(arch, name)
    if annotation is None:
        annotation = PositiveInt if options[name].annotation is int else options[name].annotation
    return annotation_problem(annotation, value)


def _encoder_problems(model: ModelConfig) -> list[str]:
    name = model.encoder_name
    if name.startswith(TIMM_PREFIX):
        return _timm_problems(name.removeprefix(TIMM_PREFIX), model.encoder_weights)
    if name not in native_encoders:
        problem = unknown_encoder(name, encoder_names(), timm.list_models())
        return [f"model.encoder_name: {problem}"]
    offered, weights = weights_names(name), model.encoder_weights
    if weights is not None and weights not in offered:
        return [_no_weights_message(name, weights, f"it has only {', '.join(offered)}", offered)]
    return []


def weights_names(encoder_name: str) -> tuple[str, ...]:
    """Values of `model.encoder_weights` that one of the library's own encoders accepts."""
    return tuple(native_encoders[encoder_name]["pretrained_settings"])


@cache  # the search through timm's names takes 0.1 s
def _timm_problems(name: str, weights: str | None) -> list[str]:
    if not timm.is_model(name):
        problem = unknown_encoder(TIMM_PREFIX + name, encoder_names(), timm.list_models())
        return [f"model.encoder_name: {problem}"]
    base, _, tag = name.partition(".")
    # timm's names are base.tag, e.g. convnext_tiny.dinov3_lvd1689m; a base alone means its default
    # tag.
    tags = [entry.partition(".")[2] for entry in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        return [
            f"model.encoder_name: timm has no weights {tag!r} for "
            f"{base}{suggest_nearest(tag, tags)}"
        ]
    if weights is not None and not timm.models.is_model_pretrained(name):
        return [_no_weights_message(f"{TIMM_PREFIX}{name}", weights, "timm offers none", ())]
    if weights not in (None, "imagenet"):
        example = f"{TIMM_PREFIX}{base}.{tags[-1]}" if any(tags) else f"{TIMM_PREFIX}<name>.<tag>"
        why = f"timm's weights are named by a tag of the encoder, e.g. {example}"
        return [_no_weights_message(f"{TIMM_PREFIX}{name}", str(weights), why, ("imagenet",))]
    return []


def _no_weights_message(encoder: str, weights: str, why: str, choices: Sequence[str]) -> str:
    return (
        f"model.encoder_weights: {encoder} has no {weights} weights ({why}); "
        f"set model.encoder_weights to {' or '.join((*choices, 'null'))}"
    )
