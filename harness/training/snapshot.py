"""What a forward pass changes beside its answer, to be put back: buffers and random numbers."""

import torch
from torch import Tensor, nn


class Snapshot:
    """A network's buffers, such as BatchNorm's statistics, and torch's random states.

    What a network keeps in plain attributes, neither parameters nor buffers, is not in it.

    Args:
        device: whose random numbers count, beside those of the CPU.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._device = device
        self._random = random_states(device)
        self._buffers = [
            (module, name, buffer, buffer.detach().clone())
            for module in network.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]

    def restore(self) -> None:
        """Put everything back; may be called more than once."""
        with torch.no_grad():
            for module, name, buffer, value in self._buffers:
                buffer.copy_(value)
                if getattr(module, name) is not buffer:  # replaced, not changed in place
                    setattr(module, name, buffer)
        set_random_states(self._random, self._device)


def random_states(device: torch.device) -> list[Tensor]:
    """What torch draws from next: on the CPU, and on the device if it has numbers of its own."""
    return [torch.get_rng_state(), *_of_device(device)]


def set_random_states(states: list[Tensor], device: torch.device) -> None:
    """Go on with what `random_states` gave; on another kind of device only the CPU's."""
    torch.set_rng_state(states[0])
    # The states of CUDA and of Metal have different sizes, and neither takes the other's.
    if [state.numel() for state in states[1:]] != [s.numel() for s in _of_device(device)]:
        return
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states[1])


def _of_device(device: torch.device) -> list[Tensor]:
    if device.type == "cuda":
        return [torch.cuda.get_rng_state(device)]
    return [torch.mps.get_rng_state()] if device.type == "mps" else []
