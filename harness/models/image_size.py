"""Arguments with which a vision transformer of timm takes images of a size that is not its own."""

from functools import cache
from typing import Any

import timm
import torch

TIMM_PREFIX = "tu-"
_REFUSALS = (TypeError, ValueError, RuntimeError, AssertionError, KeyError, AttributeError)


@cache
def size_arguments(name: str, height_width: tuple[int, int] | None) -> dict[str, Any]:
    """Arguments of timm's constructor for images of this size; the first way that works.

    `dynamic_img_size` is tried first: weights keep their own size and the positions are resampled
    in each pass. SAM's encoder and NaFlexViT do that unasked and refuse the argument; BEiT and
    others are built for one size, `img_size`.

    Args:
        name: in timm, without prefix.
        height_width: of the images in pixels; None: not known, so that none is built for it.

    Returns:
        {} as well where no way works: building or trying the network says why.
    """
    dynamic: dict[str, Any] = {"dynamic_img_size": True}
    if _can_build(name, dynamic):
        return dynamic
    sized = {} if height_width is None else {"img_size": list(height_width)}
    if height_width is None or _can_run(name, {}, height_width):
        return {}
    return sized if _can_run(name, sized, height_width) else {}


def has_fixed_size(encoder_name: str) -> bool:
    """Whether timm builds an encoder for one image size, e.g. Swin for 224 pixels."""
    if not encoder_name.startswith(TIMM_PREFIX):
        return False
    settings = timm.get_pretrained_cfg(encoder_name.removeprefix(TIMM_PREFIX))
    return settings is not None and bool(settings.fixed_input_size)


def pretrained_size(encoder_name: str) -> int:
    """Height and width in pixels for which timm's encoder was trained."""
    settings = timm.get_pretrained_cfg(encoder_name.removeprefix(TIMM_PREFIX))
    assert settings is not None, "asked of encoders with weights only"
    return int(settings.input_size[-1])


@cache
def weights_fit(encoder_name: str, height_width: tuple[int, int], *, dpt: bool) -> bool:
    """Whether pretrained weights can be loaded into an encoder built for images of this size.

    timm resamples positions while it loads most of them, but not those of Hiera. It is tried with
    weights that hold no values.

    Args:
        dpt: built for DPT, which asks for the size in another way than the other architectures.
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
    """Whether a model takes images of this size, tried without memory."""
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
    """A model without memory, in evaluation mode; None: the constructor refuses the arguments."""
    # A trial's seed must give the same weights whether this was asked before in the process or not.
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            return timm.create_model(name, **arguments).eval()
        except _REFUSALS:
            return None
