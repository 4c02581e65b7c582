"""Arguments that let a vision transformer of timm accept images of another size."""

from functools import cache
from typing import Any

import timm
import torch

from harness.models.network_names import TIMM_PREFIX

_REFUSALS = (TypeError, ValueError, RuntimeError, AssertionError, KeyError, AttributeError)


@cache
def size_arguments(name: str, height_width: tuple[int, int] | None) -> dict[str, Any]:
    """Find the first arguments of timm's constructor that work for images of this size.

    `dynamic_img_size` is tried first: weights keep their own size and the positions are resampled
    in each pass. SAM's encoder and NaFlexViT always do that and refuse the argument; BEiT and
    others are built for one size, `img_size`.

    Args:
        name: name in timm, without prefix.
        height_width: size of the images in pixels; None: not known.

    Returns:
        {} if no argument is needed, and also if none works: building or running the network then
        gives the reason.
    """
    dynamic: dict[str, Any] = {"dynamic_img_size": True}
    if _can_build(name, dynamic):
        return dynamic
    sized = {} if height_width is None else {"img_size": list(height_width)}
    # Running decides, not building: a size that does not fit shows only in the forward pass.
    if height_width is None or _can_run(name, {}, height_width):
        return {}
    return sized if _can_run(name, sized, height_width) else {}


def has_fixed_size(encoder_name: str) -> bool:
    """True if timm builds an encoder for one image size, e.g. Swin for 224 pixels."""
    if not encoder_name.startswith(TIMM_PREFIX):
        return False
    settings = timm.get_pretrained_cfg(encoder_name.removeprefix(TIMM_PREFIX))
    return settings is not None and bool(settings.fixed_input_size)


def pretrained_size(encoder_name: str) -> int:
    """Image height and width, in pixels, at which timm's encoder was trained."""
    settings = timm.get_pretrained_cfg(encoder_name.removeprefix(TIMM_PREFIX))
    assert settings is not None, "the caller has checked that the encoder has weights"
    return int(settings.input_size[-1])


@cache
def weights_fit(encoder_name: str, height_width: tuple[int, int], *, dpt: bool) -> bool:
    """True if pretrained weights can be loaded into an encoder built for this image size.

    timm resamples position embeddings while it loads most weights, but not those of Hiera. The test
    loads weights without values, so it needs no memory.

    Args:
        dpt: True for DPT, which passes the size differently than the other architectures.
    """
    if not has_fixed_size(encoder_name):
        return True
    name = encoder_name.removeprefix(TIMM_PREFIX)
    sized = size_arguments(name, height_width) if dpt else {"img_size": list(height_width)}
    plain = _build_on_meta(name, {})
    if "img_size" not in sized or plain is None:
        return True
    overlay = {"state_dict": plain.state_dict(), "file": None}
    loading = {"pretrained": True, "pretrained_cfg_overlay": overlay}
    return _can_build(name, sized | loading) or not _can_build(name, sized)


def _can_build(name: str, arguments: dict[str, Any]) -> bool:
    return _build_on_meta(name, arguments) is not None


def _can_run(name: str, arguments: dict[str, Any], height_width: tuple[int, int]) -> bool:
    """True if a model accepts images of this size, tested on the meta device."""
    model = _build_on_meta(name, arguments)
    if model is None:
        return False
    channels = int(getattr(model, "pretrained_cfg", {}).get("input_size", (3,))[0])
    try:
        with torch.no_grad(), torch.device("meta"):
            model.forward_features(torch.zeros(1, channels, *height_width))
    except _REFUSALS:
        return False
    return True


def _build_on_meta(name: str, arguments: dict[str, Any]) -> Any:
    """Build a model on the meta device in evaluation mode; None if the arguments are refused."""
    # The random state is restored, so that a trial's seed gives the same weights afterwards.
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            return timm.create_model(name, **arguments).eval()
        except _REFUSALS:
            return None
