"""Where a trial is trained, and in which arithmetic."""

import re
from dataclasses import dataclass
from typing import Literal

import torch

from harness.core.errors import UserError

Precision = Literal["bf16", "fp16", "fp32"]


@dataclass(frozen=True)
class DeviceFacts:
    """What is known of a device.

    Attributes:
        device: e.g. "cuda:0", "cpu".
        description: as `describe_device` gives it.
        has_bf16: the hardware has it; torch also computes it where it is only emulated, slowly.
    """

    device: str
    description: str
    has_bf16: bool


def probe_device(device: torch.device) -> DeviceFacts:
    """What is known of a device; on a GPU this may take half a gigabyte of its memory."""
    return DeviceFacts(str(device), describe_device(device), _has_bf16(device))


def pick_device(requested: str = "auto") -> torch.device:
    """The device to train on.

    Args:
        requested: auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:<index> or mps.

    Raises:
        UserError: no such device here, or no such name.
    """
    if requested == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if requested == "cpu":
        return torch.device("cpu")
    if requested == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(f"device mps is not available here; {_available_devices_text()}")
        return torch.device("mps")
    if not re.fullmatch(r"cuda(:\d{1,3})?", requested):
        raise UserError(f"no device {requested!r}; one of auto, cpu, cuda, cuda:<index>, mps")
    index = int(requested.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise UserError(f"device {requested} is not available here; {_available_devices_text()}")
    return torch.device("cuda", index)


def describe_device(device: torch.device) -> str:
    """The device for people and records, e.g. "cuda (NVIDIA T4)", "cpu"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def pick_precision(requested: Literal["auto"] | Precision, device: torch.device) -> Precision:
    """The arithmetic of training on `device`. As `resolve_precision`."""
    return resolve_precision(requested, probe_device(device))


def resolve_precision(requested: Literal["auto"] | Precision, facts: DeviceFacts) -> Precision:
    """The arithmetic of training on a device; validation is always fp32.

    auto is bf16 on hardware that has it, fp16 with loss scaling on other CUDA, else fp32.

    Raises:
        UserError: the device does not have what is asked for.
    """
    if requested == "auto":
        if facts.has_bf16:
            return "bf16"
        return "fp16" if facts.device.startswith("cuda") else "fp32"
    if requested == "bf16" and not facts.has_bf16:
        raise UserError(f"train.precision: {facts.description} has no bf16; use auto or fp32")
    if requested == "fp16" and not facts.device.startswith("cuda"):
        raise UserError(
            f"train.precision: fp16 needs a CUDA device, and this is {facts.description}; "
            "use auto or fp32"
        )
    return requested


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return any(
            is_supported
            for name, is_supported in _cpu_capabilities().items()
            if name.endswith("bf16")
        )
    return False


def _cpu_capabilities() -> dict[str, bool]:
    # Where torch is too old to tell, a CPU counts as one without.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return {name: value for name, value in capabilities.items() if isinstance(value, bool)}


def _available_devices_text() -> str:
    n = torch.cuda.device_count()
    names = [f"cuda:{index}" for index in range(n)]
    if torch.backends.mps.is_available():
        names.append("mps")
    return f"there is {', '.join([*names, 'cpu'])}"
