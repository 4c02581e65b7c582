"""What a forward pass changes beside its answer, to be put back: buffers and random numbers."""

from collections import defaultdict

import torch
from torch import Tensor, nn


class BufferSnapshot:
    """A network's buffers, such as BatchNorm's statistics, and torch's random states.

    What a network keeps in plain attributes, neither parameters nor buffers, is not in it; nor is a
    buffer that torch changes in no place, since some of its values share memory.

    One is taken before every training step, so that it must be cheap: buffers are looked for once,
    copied into memory that is kept, and all of a type and device by one call. That call,
    `torch._foreach_copy_`, is the one with which torch's optimizers copy (torch.optim,
    `_multi_tensor_*`).

    Args:
        device: whose random numbers count, beside those of the CPU.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network, self._device = network, device
        self._collect_buffers()
        self._random = random_states(device)

    def update(self) -> None:
        """Keep what is there now instead of what was kept before; may be called more than once."""
        if self._fingerprint() != self._last_fingerprint:
            self._collect_buffers()
        else:
            self._copy_buffers(to_network=False)
        self._random = random_states(self._device)

    def restore(self) -> None:
        """Put everything back; may be called more than once."""
        self._copy_buffers(to_network=True)
        for buffers, name, buffer in self._buffer_slots:
            if buffers.get(name) is not buffer:  # replaced, not changed in place
                buffers[name] = buffer
        set_random_states(self._random, self._device)

    def _collect_buffers(self) -> None:
        self._modules = list(self._network.modules())
        # The dicts themselves, since going through a network's attributes takes most of the time.
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
        """What changes where a module or a buffer is added, removed, replaced or resized.

        All that was seen is referred to from here, so that no other object can get their id.
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
    """What torch draws from next: on the CPU, and on the device if it has numbers of its own."""
    return [torch.get_rng_state(), *_device_random_states(device)]


def set_random_states(states: list[Tensor], device: torch.device) -> None:
    """Go on with what `random_states` gave; on another kind of device only the CPU's."""
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
