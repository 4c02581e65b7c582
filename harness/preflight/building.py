"""Building one network on the meta device and sending a batch through it."""

import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from harness.errors import ConfigError
from harness.models.build import build_network
from harness.preflight.encoders import Encoders
from harness.preflight.networks import Network, Setting
from harness.preflight.reasons import Reason, or_larger, reason_for, wrong_output
from harness.preflight.tally import Tally, Unfilled

# Where a network is built, and where it is tried: the first pair that works. Some encoders ask for
# values while they are built (mit_b*), some networks while they run.
_DEVICES = (("meta", "meta"), ("cpu", "meta"), ("cpu", "cpu"))
_LARGER = (2, 4)  # times the size at which a batch of one is refused
# What is asked of a tensor that has no values: the network has to be tried with real ones.
_NEEDS_VALUES = re.compile(r"meta tensor|meta device|'Meta'|device:? ?meta|Tensor\.item\(\)")


@dataclass(frozen=True)
class Verdict:
    """What is known of a network.

    Attributes:
        parameters: their number; None where it cannot be built.
        gflops: 10^9 operations of one image's forward pass, as a trial's `cost/gflops`.
        against: by size of batch, 1 or 2 (two or more), why not; None: possible. A size that is
            absent was not tried.
    """

    network: Network
    parameters: int | None = None
    gflops: float | None = None
    against: dict[int, Reason | None] = field(default_factory=dict)


def judge(
    network: Network, setting: Setting, batches: Collection[int], encoders: Encoders | None = None
) -> Verdict:
    """Build a network once and try it in training mode with one image (1), two or more (2).

    Nothing is fetched: weights do not change what is possible.

    Args:
        encoders: those of earlier networks, which are not built and tried again.
    """
    encoders = encoders or Encoders()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' advice to whoever calls them
        error: Exception = RuntimeError()
        for built_on, tried_on in _DEVICES:
            try:
                if tried_on == "meta":
                    with encoders.shared(), Unfilled(built_on):
                        built = _build(network, setting)
                else:
                    built = _build(network, setting)
                return _tried(built.to(tried_on), network, setting, batches, encoders)
            except Exception as refusal:  # the user's own networks raise what they like
                error = refusal
                if not _needs_values(refusal):
                    break
    return Verdict(network, against=dict.fromkeys(batches, reason_for(error, network)))


def _build(network: Network, setting: Setting) -> nn.Module:
    built = build_network(
        network.model,
        classes=setting.classes,
        in_channels=setting.channels,
        pretrained=False,
        image_size=network.height_width,
    )
    return built.to(memory_format=torch.channels_last).train()  # as it is trained


def _tried(
    built: nn.Module,
    network: Network,
    setting: Setting,
    batches: Collection[int],
    encoders: Encoders,
) -> Verdict:
    """What a built network answers.

    Raises:
        Exception: it needs values that the meta device has not.
    """
    against: dict[int, Reason | None] = {}
    gflops = None
    for n in sorted(batches):
        if 1 in against and against[1] is None:
            against[n] = None  # what one image can, two can
        else:
            reason, flops = _forward(built, network, setting, n, encoders)
            gflops = flops if flops is not None else gflops
            if n == 1 and reason is not None and reason.kind == "batch":
                reason = _enlarged(reason, built, network, setting, encoders)
            against[n] = reason
    return Verdict(network, sum(p.numel() for p in built.parameters()), gflops, against)


def _enlarged(
    reason: Reason, built: nn.Module, network: Network, setting: Setting, encoders: Encoders
) -> Reason:
    """The reason against a batch of one, which names a larger size only where that helps.

    DeepLab, PAN and UPerNet pool whole images to one value, whatever their size.
    """
    for factor in _LARGER:
        size = factor * max(network.height_width)
        larger = replace(network, height_width=(size, size))
        if _forward(built, larger, setting, 1, encoders)[0] is None:
            return or_larger(reason, size)
    return reason


def _forward(
    built: nn.Module, network: Network, setting: Setting, n: int, encoders: Encoders
) -> tuple[Reason | None, float | None]:
    """Why a batch of n images is refused, and 10^9 operations for each of them."""
    height, width = network.height_width
    device = next((p.device for p in built.parameters()), torch.device("meta"))
    try:
        images = torch.zeros(n, height, width, setting.channels, device=device)
        with torch.no_grad(), Tally() as tally:
            encoders.tally = tally
            logits = built(images.permute(0, 3, 1, 2))  # the strides that training's batches have
    except Exception as error:
        if device.type == "meta" and _needs_values(error):
            raise
        return reason_for(error, network), None
    wanted = (n, setting.classes, height, width)
    got = tuple(getattr(logits, "shape", ()))
    return (None if got == wanted else wrong_output(got, wanted)), tally.flops / n / 1e9


def _needs_values(error: Exception) -> bool:
    cause = error.__cause__ if isinstance(error, ConfigError) and error.__cause__ else error
    return isinstance(cause, NotImplementedError) or bool(_NEEDS_VALUES.search(str(cause)))
