"""Build networks from a `ModelConfig`; logits always have the size of the input."""

import warnings
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from segmentation_models_pytorch.encoders import get_encoder
from torch import nn

from harness.config.components import find_component
from harness.config.study import ModelConfig
from harness.core.errors import ConfigError
from harness.models.image_size import has_fixed_size, size_arguments
from harness.models.registry import (
    ARCHS,
    TIMM_PREFIX,
    check_model,
    network_class,
    takes_encoder,
)
from harness.models.serialization import record_arguments
from harness.models.weights import cached_weights

_BUILD_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    AssertionError,
    IndexError,
    AttributeError,
)
_UNET_CHANNELS = (
    256,
    128,
    64,
    32,
    16,
)  # the library's defaults, from the deepest stage to full size


def build_network(
    model: ModelConfig,
    *,
    classes: int = 1,
    in_channels: int = 3,
    pretrained: bool = True,
    image_size: tuple[int, int] | None = None,
) -> nn.Module:
    """Build a network that maps (N, in_channels, H, W) to logits (N, classes, H, W).

    `harness.models.serialization` writes it to a folder and loads it.

    Pretrained weights of a first layer for RGB are spread over another number of channels as the
    libraries do: for one channel their sum; for more, the three in turn, times 3 / in_channels.

    Args:
        pretrained: False builds it with random weights whatever the configuration says, for
            weights that are loaded afterwards.
        image_size: (H, W) of the images, for encoders that are built for one size.

    Raises:
        ConfigError: unknown names, or parts that do not fit together.
        WeightsError: pretrained weights are not in the local cache (nothing is downloaded here).
    """
    check_model(model)
    weights = None
    if pretrained and model.encoder_weights is not None and takes_encoder(model.arch):
        weights = cached_weights(model.encoder_name, model.encoder_weights)
    if model.arch not in ARCHS:
        sizes = {"classes": classes, "in_channels": in_channels}
        return _build_registered(model, weights, sizes, image_size)
    arguments = _constructor_arguments(model) | {"classes": classes, "in_channels": in_channels}
    if model.arch == "DPT":
        arguments |= size_arguments(model.encoder_name.removeprefix(TIMM_PREFIX), image_size)
    # Swin is built for one size: a network of 224 px refuses all others unless img_size is given.
    elif image_size is not None and has_fixed_size(model.encoder_name):
        arguments["img_size"] = list(image_size)
    network: Any = _build_library_network(model, arguments, weights)
    if model.arch == "DPT":
        _check_patches(model, network.encoder.output_strides)
    # A saved network must load without the hub and on machines without the local cache.
    network.config.pop("pretrained_cfg_overlay", None)
    network.config["encoder_weights"] = None
    built: nn.Module = network
    return built


def split_parameters(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split the parameters into (encoder, everything else), each once, in the network's order."""
    part: Any = getattr(network, "encoder", None)
    encoder = list(part.parameters()) if isinstance(part, nn.Module) else []
    # By identity: `in` would compare tensors element by element.
    inside = {id(parameter) for parameter in encoder}
    return encoder, [p for p in network.parameters() if id(p) not in inside]


def _build_registered(
    model: ModelConfig,
    weights: Path | None,
    sizes: dict[str, int],
    image_size: tuple[int, int] | None,
) -> nn.Module:
    """Build a registered network with the arguments that its constructor accepts."""
    part = find_component("network", model.arch)
    available: dict[str, Any] = {
        **sizes,
        "encoder_name": model.encoder_name,
        "encoder_depth": model.encoder_depth,
        "encoder_weights": None,
    }
    if (
        image_size is not None
        and part.accepts("encoder_name")
        and has_fixed_size(model.encoder_name)
    ):
        available["image_size"] = list(image_size)
    arguments = {name: value for name, value in available.items() if part.accepts(name)}
    arguments |= part.coerce_options(model.options)
    try:
        network = part.build(**arguments)
    except _BUILD_ERRORS as error:
        raise ConfigError(_build_failure(model, error)) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"model.arch: {model.arch} did not return a torch.nn.Module ({part.origin})"
        )
    encoder = getattr(network, "encoder", None)
    if part.accepts("encoder_name") and not isinstance(encoder, nn.Module):
        raise ConfigError(
            f"model.arch: {model.arch} has the argument encoder_name but no module `.encoder` "
            f"({part.origin})"
        )
    if weights is not None and encoder is not None:
        try:
            _load_encoder(
                model, encoder, weights, sizes["in_channels"], available.get("image_size")
            )
        except RuntimeError as error:
            raise ConfigError(_build_failure(model, error)) from error
    record_arguments(network, model.arch, arguments)
    return network


def _constructor_arguments(model: ModelConfig) -> dict[str, Any]:
    """Constructor arguments except those of the encoder: defaults by depth, and corrections."""
    depth = model.encoder_depth
    arguments: dict[str, Any] = dict(model.options)
    if model.arch in ("Unet", "UnetPlusPlus", "MAnet"):
        # The last widths, so that a resolution has the same width at every depth.
        arguments.setdefault("decoder_channels", list(_UNET_CHANNELS[-depth:]))
        _check_channels(arguments["decoder_channels"], depth)
    if model.arch == "FPN":
        # The finest level of the pyramid has stride 4 at depth 5, 2 at 4 and 1 at 3; the library
        # always upsamples by 4, so its output would be 2 or 4 times too large.
        arguments["upsampling"] = 2 ** (depth - 3)
    if model.arch == "PSPNet":
        arguments["upsampling"] = 2**depth  # the library's 8 is right for depth 3 only
    return arguments


def _check_patches(model: ModelConfig, strides: list[int]) -> None:
    """Refuse patches that DPT's decoder cannot resize to its four maps, 1/4 to 1/32 of the image.

    It upsamples by integers; with patches of 14 pixels the sizes of the maps do not match.
    """
    odd = next((stride for stride in strides if stride & (stride - 1)), None)
    if odd is not None:
        raise ConfigError(
            f"model.encoder_name: {model.encoder_name} has patches of {odd} pixels, and DPT's "
            "decoder needs 8, 16 or 32; choose e.g. tu-vit_small_patch16_224 or "
            "tu-vit_small_patch16_dinov3"
        )


def _check_channels(channels: Any, depth: int) -> None:
    if not isinstance(channels, list) or len(channels) != depth:
        raise ConfigError(
            f"model.options.decoder_channels: must be a list of {depth} numbers, as "
            f"model.encoder_depth is {depth} (got {channels!r})"
        )


def _build_library_network(
    model: ModelConfig, arguments: dict[str, Any], weights: Path | None
) -> Any:
    is_timm = model.encoder_name.startswith(TIMM_PREFIX)
    settings = arguments | {"encoder_weights": None}
    if weights is not None and is_timm:
        settings |= {"encoder_weights": True, "pretrained_cfg_overlay": _local_file(weights)}
    try:
        with warnings.catch_warnings():
            # The old `timm-` names of native encoders are deprecated but still work.
            warnings.simplefilter("ignore", DeprecationWarning)
            # Without prefix tokens DPT's readout has nothing to concatenate and acts as `ignore`.
            warnings.filterwarnings("ignore", "Encoder does not have prefix tokens", UserWarning)
            network = network_class(model.arch)(
                encoder_name=model.encoder_name, encoder_depth=model.encoder_depth, **settings
            )
    except _BUILD_ERRORS as error:
        raise ConfigError(_build_failure(model, error)) from error
    if weights is not None and not is_timm:
        _load_native(model, network.encoder, weights, arguments["in_channels"])
    return network


def _local_file(weights: Path) -> dict[str, Any]:
    """Settings that let timm read its weights from a file, without asking the hub for newer ones.

    Before 1.0.31 timm takes the file of some vision transformers for the original `.npz` file.
    """
    return {"file": str(weights), "custom_load": False}


def _load_native(model: ModelConfig, encoder: Any, weights: Path, in_channels: int) -> None:
    """Load a native encoder's weights as `get_encoder` does, but from a local file."""
    state = load_file(weights, device="cpu")
    if in_channels == 3:
        encoder.load_state_dict(state)
        return
    plain = get_encoder(model.encoder_name, depth=model.encoder_depth, weights=None)
    plain.load_state_dict(state)
    plain.set_in_channels(in_channels, pretrained=True)  # spreads the first layer's weights
    encoder.load_state_dict(plain.state_dict())


def _load_encoder(
    model: ModelConfig,
    encoder: nn.Module,
    weights: Path,
    in_channels: int,
    image_size: list[int] | None,
) -> None:
    """Load an encoder's weights into one that was built without them."""
    if not model.encoder_name.startswith(TIMM_PREFIX):
        _load_native(model, encoder, weights, in_channels)
        return
    with_weights = get_encoder(
        model.encoder_name,
        in_channels=in_channels,
        depth=model.encoder_depth,
        weights=True,
        pretrained_cfg_overlay=_local_file(weights),
        **({} if image_size is None else {"img_size": image_size}),
    )
    encoder.load_state_dict(with_weights.state_dict())


def _build_failure(model: ModelConfig, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return (
        f"model: {model.arch} cannot be built with {model.encoder_name} at encoder_depth "
        f"{model.encoder_depth}"
        + (f" and options {model.options}" if model.options else "")
        + f": {reason}"
    )
