"""Snapshot of the side effects of a forward pass, to be reverted: buffers and random states."""

from collections import defaultdict

import torch
from torch import Tensor, nn


class BufferSnapshot:
    """Copies of a network's buffers, such as BatchNorm's statistics, and torch's random states.

    It does not hold plain attributes of a network that are neither parameters nor buffers, nor
    expanded buffers, which torch cannot change in place since their values share memory.

    A snapshot is taken before every training step, so it must be cheap: the buffers are collected
    once, copied into memory that is kept, and all buffers of a type and device by one call. That
    call, `torch._foreach_copy_`, is private, but torch's own optimizers copy with it (torch.optim,
    `_multi_tensor_*`).

    Args:
        device: device whose random state is kept, in addition to that of the CPU.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network, self._device = network, device
        self._collect_buffers()
        self._random = random_states(device)

    def update(self) -> None:
        """Replace the copies by the present state; may be called more than once."""
        if self._fingerprint() != self._last_fingerprint:
            self._collect_buffers()
        else:
            self._copy_buffers(to_network=False)
        self._random = random_states(self._device)

    def restore(self) -> None:
        """Restore the state of the last update; may be called more than once."""
        self._copy_buffers(to_network=True)
        for buffers, name, buffer in self._buffer_slots:
            if buffers.get(name) is not buffer:  # replaced, not changed in place
                buffers[name] = buffer
        set_random_states(self._random, self._device)

    def _collect_buffers(self) -> None:
        self._modules = list(self._network.modules())
        # The dicts themselves: looking up attributes of nn.Module takes most of the time otherwise.
        self._children = [module._modules for module in self._modules]
        self._buffer_tables = [module._buffers for module in self._modules]
        self._buffer_slots = [
            (table, name, buffer) for table in self._buffer_tables for name, buffer in table.items()
        ]
        self._buffers = [
            buffer
            for _, _, buffer in self._buffer_slots
            if buffer is not None and not _is_expanded(buffer)
        ]
        by_device_and_dtype: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(
            list
        )
        for buffer in self._buffers:
            by_device_and_dtype[buffer.device, buffer.dtype].append(buffer)
        self._groups = [
            (group, [buffer.detach().clone() for buffer in group])
            for group in by_device_and_dtype.values()
        ]
        self._last_fingerprint = self._fingerprint()

    def _fingerprint(self) -> tuple[list[int], list[torch.Size]]:
        """Value that changes if a module or a buffer is added, removed, replaced or resized.

        This object refers to everything whose id is in it, so that no new object can have such an
        id: CPython reuses the ids of objects that are gone.
        """
        ids = [id(child) for table in self._children for child in table.values()]
        ids += [id(child) for table in self._buffer_tables for child in table.values()]
        return ids, [buffer.shape for buffer in self._buffers]

    @torch.no_grad()
    def _copy_buffers(self, *, to_network: bool) -> None:
        for buffers, copies in self._groups:
            target, source = (buffers, copies) if to_network else (copies, buffers)
            torch._foreach_copy_(target, source)


def _is_expanded(buffer: Tensor) -> bool:
    if buffer.layout != torch.strided:
        return False
    return any(
        size > 1 and not step for size, step in zip(buffer.shape, buffer.stride(), strict=True)
    )


def random_states(device: torch.device) -> list[Tensor]:
    """Random states of torch: of the CPU, and of the device if it has its own generator."""
    return [torch.get_rng_state(), *_device_random_states(device)]


def set_random_states(states: list[Tensor], device: torch.device) -> None:
    """Restore the result of `random_states`; on another kind of device only the CPU's state."""
    torch.set_rng_state(states[0])
    # The states of CUDA and of Metal have different sizes, and neither takes the other's.
    if [state.numel() for state in states[1:]] != [
        s.numel() for s in _device_random_states(device)
    ]:
        return
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states[1])


def _device_random_states(device: torch.device) -> list[Tensor]:
    if device.type == "cuda":
        return [torch.cuda.get_rng_state(device)]
    return [torch.mps.get_rng_state()] if device.type == "mps" else []
