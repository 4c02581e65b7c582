"""Device and arithmetic of a training, also the convolutions that are slow in bf16 on the CPU."""

import re
from typing import Any, Literal

import psutil
import torch
from torch import Tensor, nn

from harness.core.errors import UserError
from harness.training.hardware.device_facts import DeviceFacts, Precision, resolve_precision


def probe_device(device: torch.device) -> DeviceFacts:
    """Find the facts about a device; on a GPU this may use half a gigabyte of its memory."""
    return DeviceFacts(str(device), describe_device(device), _has_bf16(device))


def free_memory_bytes(device: torch.device) -> int:
    """Free memory of a CUDA device, otherwise of this machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def pick_device(requested: str = "auto") -> torch.device:
    """Choose the device to train on.

    Args:
        requested: auto (CUDA, otherwise MPS, otherwise CPU), cpu, cuda, cuda:<index> or mps.

    Raises:
        UserError: the device is not available, or the name is unknown.
    """
    if requested == "auto":
        return _pick_fastest()
    if requested == "mps" and not torch.backends.mps.is_available():
        raise _unavailable_error(requested)
    if requested in ("cpu", "mps"):
        return torch.device(requested)
    if not re.fullmatch(r"cuda(:\d{1,3})?", requested):
        raise UserError(
            f"--device {requested}: unknown device; choose from auto, cpu, cuda, cuda:<index>, mps"
        )
    index = int(requested.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise _unavailable_error(requested)
    return torch.device("cuda", index)


def _pick_fastest() -> torch.device:
    if torch.cuda.is_available():
        # With an index: "cuda" means the current device, which user code may change.
        return torch.device("cuda:0")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _unavailable_error(requested: str) -> UserError:
    return UserError(f"--device {requested}: not available here; {_available_devices_text()}")


def describe_device(device: torch.device) -> str:
    """Describe a device for messages and records, e.g. "cuda (NVIDIA T4)", "cpu"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def pick_precision(requested: Literal["auto"] | Precision, device: torch.device) -> Precision:
    """Choose the arithmetic of training on a device. As `resolve_precision`."""
    return resolve_precision(requested, probe_device(device))


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):
            # Without this argument torch says True on a T4, which only emulates bf16.
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return any(
            is_supported
            for name, is_supported in _cpu_capabilities().items()
            if name.endswith("bf16")
        )
    return False


def _cpu_capabilities() -> dict[str, bool]:
    # With a torch that is too old to have this function, a CPU counts as one without bf16.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return {name: value for name, value in capabilities.items() if isinstance(value, bool)}


def _available_devices_text() -> str:
    n = torch.cuda.device_count()
    names = [f"cuda:{index}" for index in range(n)]
    if torch.backends.mps.is_available():
        names.append("mps")
    return f"available: {', '.join([*names, 'cpu'])}"


def keep_depthwise_in_fp32(network: nn.Module) -> None:
    """Compute some convolutions in fp32 in a network that is trained in bf16 on the CPU.

    These are the depthwise convolutions with a stride or a kernel larger than 3 x 3: in bf16 they
    and their gradients take up to 16 times as long (oneDNN in torch 2.15, AVX512-BF16). Outside of
    autocast nothing changes; parameters and their names stay. A `forward` that was replaced on the
    module itself is left alone.
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
    """Derive a class that computes in fp32, also from a subclass that pads in its own way."""
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


# One class for each kind of convolution, not for each network: a warm worker would collect them.
_FP32_CLASSES: dict[type[nn.Conv2d], type[nn.Conv2d]] = {}
