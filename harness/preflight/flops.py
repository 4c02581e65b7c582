"""Count the operations of a network on the meta device, and build it there quickly."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten

_INIT_FUNCTIONS = {
    f"{name}_"
    for name in ("normal", "uniform", "trunc_normal", "bernoulli", "erfinv", "fill", "zero")
}

# On the meta device torch computes these in Python with some 30 steps each (measured: nine tenths
# of the time of a forward pass). Their results have the shape of the first argument.
_IN_PLACE = {
    *(_aten.clamp_, _aten.mul_, _aten.add_, _aten.div_),
    *(_aten.relu_, _aten.hardtanh_, _aten.hardswish_, _aten.silu_),
}
_ELEMENTWISE = {
    *(_aten.add, _aten.mul, _aten.relu, _aten.silu, _aten.gelu, _aten.sigmoid),
    *(_aten.hardswish, _aten.hardtanh, _aten.hardsigmoid),
}


class SkipInit(DeviceContext):
    """Mode that creates tensors on a device and skips the initialisation of weights.

    Args:
        device: device of the tensors, e.g. meta.
    """

    def __init__(self, device: str) -> None:
        super().__init__(torch.device(device))

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if (
            args
            and isinstance(args[0], Tensor)
            and getattr(func, "__name__", "") in _INIT_FUNCTIONS
        ):
            return args[0]
        return super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch ships it untyped
    """Mode that counts floating-point operations, with short cuts on the meta device.

    Attributes:
        flops: operations so far (a multiply-add is two), by torch's own formulas.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        meta_result = _meta_result(func, args, kwargs)
        if meta_result is not None:
            return meta_result
        result = func(*args, **kwargs)
        # torch's formulas count a grouped backward pass too high; only forward passes are counted
        # here.
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=result)
        return result


def _meta_result(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Result of an operation whose shape is obvious; None: torch must compute it."""
    first = args[0] if args else None
    if not isinstance(first, Tensor) or first.device.type != "meta" or "out" in kwargs:
        return None
    packet = func._overloadpacket
    if packet in _IN_PLACE or packet in _ELEMENTWISE:
        others = [argument for argument in args[1:] if isinstance(argument, Tensor)]
        # Broadcasting and type promotion change the result's shape or type: torch computes those.
        if any(o.shape != first.shape or o.dtype != first.dtype for o in others):
            return None
        if packet in _IN_PLACE:
            return first
        needs_torch = not first.is_floating_point() or (len(args) > 1 and not others)
        return None if needs_torch else torch.empty_like(first)
    if func is _aten.upsample_bilinear2d.default:
        is_channels_last = first.is_contiguous(memory_format=torch.channels_last)
        memory_format = torch.channels_last if is_channels_last else torch.contiguous_format
        return torch.empty(
            (*first.shape[:2], *args[1]),
            dtype=first.dtype,
            device="meta",
            memory_format=memory_format,
        )
    if func is _aten.native_batch_norm.default:
        n = first.shape[1]
        return torch.empty_like(first), first.new_empty(n), first.new_empty(n)
    if func is _aten.native_layer_norm.default:
        n_leading = first.dim() - len(args[1])
        shape = [*first.shape[:n_leading], *([1] * len(args[1]))]
        return torch.empty_like(first), first.new_empty(shape), first.new_empty(shape)
    return None
