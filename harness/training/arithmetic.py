"""The arithmetic of a forward pass: autocast, but for what is slower in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def computed_in(half: torch.dtype | None, device: torch.device) -> Iterator[None]:
    """Compute in `half` what autocast computes so on `device`; None: in the type of the weights.

    On the CPU depthwise convolutions that stride or are larger than 3 x 3 stay in fp32: in bf16
    they and their gradients take 1.03 to 16 times as long (oneDNN in torch 2.15, AVX512-BF16).
    """
    with torch.autocast(device.type, dtype=half, enabled=half is not None):
        if half is None or device.type != "cpu":
            yield
        else:
            with _DepthwiseInFp32(half):
                yield


_GIVEN = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")  # torch.conv2d's


class _DepthwiseInFp32(TorchFunctionMode):
    def __init__(self, half: torch.dtype) -> None:
        super().__init__()
        self._half = half

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d:
            given = dict(zip(_GIVEN, args, strict=False)) | (kwargs or {})
            if _is_slow(given):
                with torch.autocast("cpu", enabled=False):
                    return func(**given | {"input": given["input"].float()}).to(self._half)
        return func(*args, **(kwargs or {}))


def _is_slow(given: dict[str, Any]) -> bool:
    """Whether a convolution of these arguments is depthwise, and strides or is large."""
    (_, per_group, *size), stride = given["weight"].shape, given.get("stride", 1)
    strides = stride != 1 if isinstance(stride, int) else max(stride) > 1
    return given["input"].shape[-3] > 1 == per_group and (strides or max(size) > 3)
