"""Where a trial is trained, and in which arithmetic."""

import re
from dataclasses import dataclass
from typing import Literal

import torch

from harness.errors import UserError

Precision = Literal["bf16", "fp16", "fp32"]


@dataclass(frozen=True)
class DeviceFacts:
    """What is known of a device.

    Attributes:
        device: e.g. "cuda:0", "cpu".
        description: as `describe` gives it.
        has_bf16: the hardware has it; torch also computes it where it is only emulated, slowly.
    """

    device: str
    description: str
    has_bf16: bool


def look_at(device: torch.device) -> DeviceFacts:
    """What is known of a device; on a GPU this may take half a gigabyte of its memory."""
    return DeviceFacts(str(device), describe(device), _has_bf16(device))


def pick_device(wanted: str = "auto") -> torch.device:
    """The device to train on.

    Args:
        wanted: auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:<index> or mps.

    Raises:
        UserError: no such device here, or no such name.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if wanted == "cpu":
        return torch.device("cpu")
    if wanted == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(f"device mps is not available here; {_here()}")
        return torch.device("mps")
    if not re.fullmatch(r"cuda(:\d{1,3})?", wanted):
        raise UserError(f"no device {wanted!r}; one of auto, cpu, cuda, cuda:<index>, mps")
    index = int(wanted.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise UserError(f"device {wanted} is not available here; {_here()}")
    return torch.device("cuda", index)


def describe(device: torch.device) -> str:
    """The device for people and records, e.g. "cuda (NVIDIA T4)", "cpu"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def pick_precision(wanted: Literal["auto"] | Precision, device: torch.device) -> Precision:
    """The arithmetic of training on `device`. As `precision_on`."""
    return precision_on(wanted, look_at(device))


def precision_on(wanted: Literal["auto"] | Precision, facts: DeviceFacts) -> Precision:
    """The arithmetic of training on a device; validation is always fp32.

    auto is bf16 on hardware that has it, fp16 with loss scaling on other CUDA, else fp32.

    Raises:
        UserError: the device does not have what is asked for.
    """
    if wanted == "auto":
        if facts.has_bf16:
            return "bf16"
        return "fp16" if facts.device.startswith("cuda") else "fp32"
    if wanted == "bf16" and not facts.has_bf16:
        raise UserError(f"train.precision: {facts.description} has no bf16; use auto or fp32")
    if wanted == "fp16" and not facts.device.startswith("cuda"):
        raise UserError(
            f"train.precision: fp16 needs a CUDA device, and this is {facts.description}; "
            "use auto or fp32"
        )
    return wanted


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return any(has for name, has in _cpu_capabilities().items() if name.endswith("bf16"))
    return False


def _cpu_capabilities() -> dict[str, bool]:
    # Where torch is too old to tell, a CPU counts as one without.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return {name: has for name, has in capabilities.items() if isinstance(has, bool)}


def _here() -> str:
    n = torch.cuda.device_count()
    found = [f"cuda:{index}" for index in range(n)]
    if torch.backends.mps.is_available():
        found.append("mps")
    return f"there is {', '.join([*found, 'cpu'])}"
