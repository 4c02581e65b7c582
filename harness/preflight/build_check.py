"""Build one network on the meta device and run a batch through it."""

import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from harness.core.errors import ConfigError
from harness.models.build import build_network
from harness.preflight.encoder_cache import EncoderCache
from harness.preflight.flops import FlopCounter, SkipInit
from harness.preflight.network_key import NetworkKey, PreflightSetting
from harness.preflight.refusal_reasons import (
    RefusalReason,
    reason_from_error,
    suggest_image_size,
    wrong_output_reason,
)

# Devices to build and to run a network on: the first pair that works. Some encoders need values
# while they are built (mit_b*), some networks while they run.
_DEVICES = (("meta", "meta"), ("cpu", "meta"), ("cpu", "cpu"))
_SIZE_FACTORS = (2, 4)  # times the size at which a batch of one is refused
# Messages of operations that need values, which meta tensors lack: real tensors are tried then.
_NEEDS_VALUES = re.compile(r"meta tensor|meta device|'Meta'|device:? ?meta|Tensor\.item\(\)")


@dataclass(frozen=True)
class BuildResult:
    """Result of the check of one network.

    Attributes:
        n_parameters: number of parameters; None if the network cannot be built.
        gflops: 10^9 operations of the forward pass of one image, as a trial's `cost/gflops`.
        refusals: reason by batch size, 1 or 2 (two or more); None: possible. A size that was not
            tried is absent.
    """

    network: NetworkKey
    n_parameters: int | None = None
    gflops: float | None = None
    refusals: dict[int, RefusalReason | None] = field(default_factory=dict)


def try_build(
    network: NetworkKey,
    setting: PreflightSetting,
    batch_sizes: Collection[int],
    encoders: EncoderCache | None = None,
) -> BuildResult:
    """Build a network once and try it in training mode with one image (1), two or more (2).

    Nothing is downloaded: weights do not change the shapes.

    Args:
        encoders: cache of the encoders of earlier networks.
    """
    encoders = encoders or EncoderCache()
    with warnings.catch_warnings():
        # Warnings of the libraries are meant for their direct callers.
        warnings.simplefilter("ignore")
        error: Exception = RuntimeError()
        for build_device, run_device in _DEVICES:
            try:
                if run_device == "meta":
                    with encoders.share_encoders(), SkipInit(build_device):
                        module = _build(network, setting)
                else:
                    module = _build(network, setting)
                return _try_batches(module.to(run_device), network, setting, batch_sizes, encoders)
            except Exception as refusal:  # user-defined networks can raise anything
                error = refusal
                if not _needs_values(refusal):
                    break
    return BuildResult(
        network, refusals=dict.fromkeys(batch_sizes, reason_from_error(error, network))
    )


def _build(network: NetworkKey, setting: PreflightSetting) -> nn.Module:
    module = build_network(
        network.model,
        classes=setting.classes,
        in_channels=setting.channels,
        pretrained=False,
        image_size=network.height_width,
    )
    return module.to(memory_format=torch.channels_last).train()  # as it is trained


def _try_batches(
    module: nn.Module,
    network: NetworkKey,
    setting: PreflightSetting,
    batch_sizes: Collection[int],
    encoders: EncoderCache,
) -> BuildResult:
    """Run a built network with each batch size.

    Raises:
        Exception: the network needs values, which the meta device does not have.
    """
    refusals: dict[int, RefusalReason | None] = {}
    gflops = None
    for n in sorted(batch_sizes):
        if 1 in refusals and refusals[1] is None:
            refusals[n] = None  # if one image works, two images do
        else:
            reason, flops = _try_forward(module, network, setting, n, encoders)
            gflops = flops if flops is not None else gflops
            if n == 1 and reason is not None and reason.kind == "batch":
                reason = _suggest_larger_size(reason, module, network, setting, encoders)
            refusals[n] = reason
    return BuildResult(network, sum(p.numel() for p in module.parameters()), gflops, refusals)


def _suggest_larger_size(
    reason: RefusalReason,
    module: nn.Module,
    network: NetworkKey,
    setting: PreflightSetting,
    encoders: EncoderCache,
) -> RefusalReason:
    """Add a larger image size to the reason against a batch of one, if that helps.

    DeepLab, PAN and UPerNet pool the whole image to one value, so BatchNorm sees one value per
    channel at any size.
    """
    for factor in _SIZE_FACTORS:
        size = factor * max(network.height_width)
        larger = replace(network, height_width=(size, size))
        if _try_forward(module, larger, setting, 1, encoders)[0] is None:
            return suggest_image_size(reason, size)
    return reason


def _try_forward(
    module: nn.Module,
    network: NetworkKey,
    setting: PreflightSetting,
    n: int,
    encoders: EncoderCache,
) -> tuple[RefusalReason | None, float | None]:
    """Reason why a batch of n images fails (None if not), and 10^9 operations per image."""
    height, width = network.height_width
    device = next((p.device for p in module.parameters()), torch.device("meta"))
    try:
        images = torch.zeros(n, height, width, setting.channels, device=device)
        with torch.no_grad(), FlopCounter() as flop_counter:
            encoders.flop_counter = flop_counter
            logits = module(images.permute(0, 3, 1, 2))  # the strides that training's batches have
    except Exception as error:
        if device.type == "meta" and _needs_values(error):
            raise
        return reason_from_error(error, network), None
    expected_shape = (n, setting.classes, height, width)
    output_shape = tuple(getattr(logits, "shape", ()))
    reason = None
    # Silent otherwise: FPN and PSPNet of the library give outputs of another size at some depths.
    if output_shape != expected_shape:
        reason = wrong_output_reason(output_shape, expected_shape)
    return reason, flop_counter.flops / n / 1e9


def _needs_values(error: Exception) -> bool:
    cause = error.__cause__ if isinstance(error, ConfigError) and error.__cause__ else error
    return isinstance(cause, NotImplementedError) or bool(_NEEDS_VALUES.search(str(cause)))
