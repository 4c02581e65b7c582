"""What autocast should leave in fp32 on the CPU, because in bf16 it is slower."""

from typing import Any

import torch
from torch import Tensor, nn


def keep_depthwise_in_fp32(network: nn.Module) -> None:
    """Have a network that is trained in bf16 on the CPU keep some convolutions in fp32.

    Those that are depthwise, and stride or are larger than 3 x 3: in bf16 they and their gradients
    take up to 16 times as long (oneDNN in torch 2.15, AVX512-BF16). Outside of autocast nothing
    changes; parameters and their names stay. A `forward` that somebody has replaced is left alone.
    """
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d)
            and _is_slow_in_bf16(module)
            and "forward" not in vars(module)
        ):
            # A bound method would make a reference cycle: see `harness.training.loop.training_run`.
            module.__class__ = _fp32_class(type(module))


def _is_slow_in_bf16(convolution: nn.Conv2d) -> bool:
    depthwise = convolution.groups > 1 == convolution.in_channels // convolution.groups
    return depthwise and (max(convolution.stride) > 1 or max(convolution.kernel_size) > 3)


def _fp32_class(conv_class: type[nn.Conv2d]) -> type[nn.Conv2d]:
    """The same kind of convolution, computed in fp32; `conv_class` may pad in its own way."""
    if conv_class in _FP32_CLASSES:
        return _FP32_CLASSES[conv_class]

    def forward(self: nn.Conv2d, inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_autocast_enabled("cpu") or self.weight.dtype != torch.float32:
            return conv_class.forward(self, inputs, *args, **kwargs)
        half = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            return conv_class.forward(self, inputs.float(), *args, **kwargs).to(half)

    namespace = {"forward": forward, "__module__": conv_class.__module__}
    return _FP32_CLASSES.setdefault(conv_class, type(conv_class.__name__, (conv_class,), namespace))


_FP32_CLASSES: dict[
    type[nn.Conv2d], type[nn.Conv2d]
] = {}  # one for each kind, not for each network
