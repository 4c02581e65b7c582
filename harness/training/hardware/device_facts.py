"""Facts about a device, and the arithmetic that follows from them.

A file of its own, without torch: the controller of a cluster describes devices that it lacks.
"""

from dataclasses import dataclass
from typing import Literal

from harness.core.errors import UserError

Precision = Literal["bf16", "fp16", "fp32"]


@dataclass(frozen=True)
class DeviceFacts:
    """Facts about a device.

    Attributes:
        device: e.g. "cuda:0", "cpu".
        description: as `describe_device` returns it.
        has_bf16: the hardware has bf16. Torch also computes with an emulation, which is slow.
            None: not known before a scheduler has chosen the node.
        free_mb: free memory of a GPU in 10^6 bytes beside the context of the process that asked;
            None if it was not measured.
    """

    device: str
    description: str
    has_bf16: bool | None
    free_mb: float | None = None


def resolve_precision(requested: Literal["auto"] | Precision, facts: DeviceFacts) -> Precision:
    """Choose the arithmetic of training on a known device; validation is always fp32.

    auto is bf16 on hardware that has it, fp16 with loss scaling on other CUDA devices, otherwise
    fp32.

    Raises:
        UserError: the device does not have the requested arithmetic.
    """
    assert facts.has_bf16 is not None, "the device is not known"
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


def describe_precision(requested: Literal["auto"] | Precision, facts: DeviceFacts) -> str:
    """Arithmetic of trials on a device, for messages: the worker chooses if it is not known.

    Raises:
        UserError: the device is known and does not have the requested arithmetic, or no device of
            its kind has it.
    """
    if facts.has_bf16 is not None:
        return resolve_precision(requested, facts)
    if requested == "fp16":
        return resolve_precision(requested, DeviceFacts(facts.device, facts.description, False))
    return "precision as each node has it" if requested == "auto" else requested
