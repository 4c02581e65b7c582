"""Results of a device that are read later, without waiting for the device now.

Reading a number from a GPU waits until all of its queued work is done, and leaves it idle while
the CPU prepares the next step.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn


class AsyncScalar:
    """Non-blocking copy of one scalar from device to host.

    Args:
        value: tensor of one element; changes to it afterwards have no effect on the copy.
    """

    def __init__(self, value: Tensor) -> None:
        self._value, self._copy_event = value.detach(), None
        if value.device.type == "cuda":
            # Without pinned memory `non_blocking` silently copies synchronously.
            self._value = torch.empty((), dtype=value.dtype, pin_memory=True)
            self._value.copy_(value.detach(), non_blocking=True)
            self._copy_event = torch.cuda.current_stream(value.device).record_event()

    def read(self) -> float:
        """Return the number; blocks only if the copy is not finished."""
        if self._copy_event is not None:
            self._copy_event.synchronize()
        return float(self._value)


def timed_forward(network: nn.Module, images: Tensor) -> tuple[Tensor, Callable[[], float]]:
    """Run a network and measure it.

    Returns:
        The logits, and a function that returns the milliseconds of the forward pass; on CUDA it
        waits until the device has finished that pass.
    """
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
    # Metal has events too, but its results are copied to the CPU batch by batch in any case.
    if device.type == "mps":
        torch.mps.synchronize()
