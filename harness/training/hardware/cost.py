"""What a trial costs: parameters, arithmetic, memory."""

import contextlib
import math
import re
from pathlib import Path

import psutil
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harness.core.errors import ConfigError
from harness.training.loop.errors import is_out_of_memory


def count_parameters(network: nn.Module) -> int:
    """Parameters of a network, trained or frozen."""
    return sum(parameter.numel() for parameter in network.parameters())


def measure_forward_gflops(
    network: nn.Module, height_width: tuple[int, int], channels: int = 3
) -> float:
    """Floating-point operations of one image's forward pass, in 10^9 (a multiply-add is two).

    The network is left in evaluation mode. As it runs here for the first time, this is also
    where an image size that it cannot take is found.

    Raises:
        ConfigError: the network refuses the size, or its logits have another one.
    """
    parameter = next(network.parameters())
    image_shape = (1, channels, *height_width)
    image = torch.zeros(image_shape, device=parameter.device, dtype=parameter.dtype)
    size_text = f"data.image_size: {height_width[0]} x {height_width[1]} pixels"
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            logits = network(image)
    except (RuntimeError, ValueError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        raise ConfigError(f"{size_text}: the network refuses them: {_one_line(error)}") from error
    if tuple(logits.shape[-2:]) != tuple(height_width):
        raise ConfigError(f"{size_text}: the network answers with {tuple(logits.shape[-2:])}")
    return float(counter.get_total_flops() / 1e9)


def reset_peak_memory(device: torch.device) -> bool:
    """Begin to measure peak memory anew, so that a warm process does not report earlier trials.

    Returns:
        Whether the peak now is what is held now. Not every system lets a process reset it; where
        an earlier trial held much more, nothing is then known of the next one's peak.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    with contextlib.suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_memory_mb(device) <= 1.1 * psutil.Process().memory_info().rss / 1e6


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory in 10^6 bytes: of tensors on CUDA, else of this process; NaN where not told."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        if high_water_mark := re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE):
            return int(high_water_mark[1]) * 1024 / 1e6
    return math.nan


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
