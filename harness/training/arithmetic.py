"""What autocast should leave in fp32 on the CPU, because in bf16 it is slower."""

from typing import Any

import torch
from torch import Tensor, nn


def keep_fast(network: nn.Module) -> None:
    """Have a network that is trained in bf16 on the CPU keep some convolutions in fp32.

    Those that are depthwise, and stride or are larger than 3 x 3: in bf16 they and their gradients
    take up to 16 times as long (oneDNN in torch 2.15, AVX512-BF16). Outside of autocast nothing
    changes; parameters and their names stay. A `forward` that somebody has replaced is left alone.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and _is_slow(module) and "forward" not in vars(module):
            # A method of its own in the module would make a cycle: see `harness.training.session`.
            module.__class__ = _kept(type(module))


def _is_slow(convolution: nn.Conv2d) -> bool:
    depthwise = convolution.groups > 1 == convolution.in_channels // convolution.groups
    return depthwise and (max(convolution.stride) > 1 or max(convolution.kernel_size) > 3)


def _kept(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    """The same kind of convolution, computed in fp32; `kind` may pad in its own way."""
    if kind in _KEPT:
        return _KEPT[kind]

    def forward(self: nn.Conv2d, inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_autocast_enabled("cpu") or self.weight.dtype != torch.float32:
            return kind.forward(self, inputs, *args, **kwargs)
        half = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            return kind.forward(self, inputs.float(), *args, **kwargs).to(half)

    content = {"forward": forward, "__module__": kind.__module__}
    return _KEPT.setdefault(kind, type(kind.__name__, (kind,), content))


_KEPT: dict[type[nn.Conv2d], type[nn.Conv2d]] = {}  # one for each kind, not for each network
