"""What a device will have worked out later, for whoever does not want to wait for it now.

Asking a GPU for a number waits until all that it was given is done, and leaves it idle meanwhile.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn


class AsyncScalar:
    """A copy of a number on its way to the host; it has arrived when the device has come so far.

    Args:
        value: of one element; what is done to it afterwards does not matter.
    """

    def __init__(self, value: Tensor) -> None:
        self._value, self._copy_event = value.detach(), None
        if value.device.type == "cuda":
            self._value = torch.empty((), dtype=value.dtype, pin_memory=True)
            self._value.copy_(value.detach(), non_blocking=True)
            self._copy_event = torch.cuda.current_stream(value.device).record_event()

    def read(self) -> float:
        """The number; some steps later it is there without waiting."""
        if self._copy_event is not None:
            self._copy_event.synchronize()
        return float(self._value)


def timed_forward(network: nn.Module, images: Tensor) -> tuple[Tensor, Callable[[], float]]:
    """The network's answer, and what tells its milliseconds once the device has worked it out."""
    device = images.device
    if device.type == "cuda":
        stream = torch.cuda.current_stream(device)
        start_event = stream.record_event(_timing_event())
        logits = network(images)
        end_event = stream.record_event(_timing_event())
        return logits, lambda: float(start_event.elapsed_time(end_event))
    _synchronize_mps(device)
    start = time.perf_counter()
    logits = network(images)
    _synchronize_mps(device)
    milliseconds = 1000 * (time.perf_counter() - start)
    return logits, lambda: milliseconds


def _timing_event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _synchronize_mps(device: torch.device) -> None:
    """Metal has events too, but its answers are fetched batch by batch in any case."""
    if device.type == "mps":
        torch.mps.synchronize()
