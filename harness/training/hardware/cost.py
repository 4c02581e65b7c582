"""Costs of a trial: parameters, arithmetic, memory, energy of the GPU."""

import contextlib
import math
import re
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harness.core.errors import ConfigError
from harness.training.loop.errors import is_out_of_memory

try:
    import pynvml  # of the package nvidia-ml-py, which is optional: torch brings no NVML binding
except ImportError:
    pynvml = None

MILLIJOULES_PER_WH = 3.6e6


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


class EnergyMeter:
    """Energy that the GPU of a device has used since this object was created.

    NVML counts for the whole board, since the driver was loaded (Volta and later). So nothing is
    known where a process shares the board with others: with another worker, with a process of
    another user, or as a slice (MIG).

    Args:
        shares_gpu: another worker of the study trains on the same GPU.
    """

    def __init__(self, device: torch.device, *, shares_gpu: bool = False) -> None:
        self._handle = None if shares_gpu else _nvml_handle(device)
        self._start_mj = self._read_mj()

    def used_wh(self) -> float | None:
        """Watt-hours until now; None where NVML cannot tell, and from then on."""
        now_mj = self._read_mj()
        if now_mj is None or self._start_mj is None or now_mj < self._start_mj:
            self._handle = None  # a counter that went backwards: the driver was loaded again
            return None
        return (now_mj - self._start_mj) / MILLIJOULES_PER_WH

    def _read_mj(self) -> int | None:
        if self._handle is None:
            return None
        try:
            # Inside a container this list is usually empty, so that a neighbour goes unseen there;
            # other workers of the same study are known all the same, by `shares_gpu`.
            if len(pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle)) <= 1:
                return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except pynvml.NVMLError:
            pass  # not supported by this GPU, or not permitted
        self._handle = None
        return None


def _nvml_handle(device: torch.device) -> Any:
    """NVML's handle of the board that a CUDA device is; None where there is none, or a slice."""
    if pynvml is None or device.type != "cuda":
        return None
    # By UUID, since NVML numbers all boards by their bus and CUDA only the visible ones, the
    # fastest first: neither CUDA_VISIBLE_DEVICES nor CUDA_DEVICE_ORDER is known to NVML.
    uuid = torch.cuda.get_device_properties(device).uuid
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")  # not found: a slice's own UUID
    except pynvml.NVMLError:
        return None
    try:
        is_sliced = pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    except pynvml.NVMLError:  # a GPU that knows no slices
        is_sliced = False
    return None if is_sliced else handle


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
