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
    """Count the parameters of a network, trained or frozen."""
    return sum(parameter.numel() for parameter in network.parameters())


def measure_forward_gflops(
    network: nn.Module, height_width: tuple[int, int], channels: int = 3
) -> float:
    """Count the floating-point operations of one image's forward pass, in 10^9.

    A multiply-add counts as two. The network is left in evaluation mode. As it runs here for the
    first time, an image size that it does not support is found here, too.

    Raises:
        ConfigError: the network does not support the size, or its logits have another size.
    """
    parameter = next(network.parameters())
    # One image suffices: in evaluation mode BatchNorm needs no second one.
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
        problem = f"{size_text}: not supported by the network: {_one_line(error)}"
        raise ConfigError(problem) from error
    output_size = tuple(logits.shape[-2:])
    if output_size != tuple(height_width):
        raise ConfigError(f"{size_text}: the network's output has the size {output_size}")
    return float(counter.get_total_flops() / 1e9)


def reset_peak_memory(device: torch.device) -> bool:
    """Reset the peak memory, so that a warm process does not report that of earlier trials.

    Returns:
        True if the peak is now the present use. Not every system allows a process to reset it, and
        if an earlier trial used much more, the peak of the next one cannot be known.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    # "5" resets the high-water mark of resident memory, see proc_pid_clear_refs(5).
    with contextlib.suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_memory_mb(device) <= 1.1 * psutil.Process().memory_info().rss / 1e6


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory in 10^6 bytes: of tensors on CUDA, otherwise of this process; NaN if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        if high_water_mark := re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE):
            return int(high_water_mark[1]) * 1024 / 1e6
    return math.nan


class EnergyMeter:
    """Energy that the GPU of a device has used since this object was created.

    NVML counts the millijoules of the whole board since the driver was loaded (Volta and later). So
    the energy of this process is unknown if it shares the board: with another worker, with a
    process of another user, or as a slice (MIG).

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
            self._handle = None  # a counter that decreased: the driver was reloaded
            return None
        return (now_mj - self._start_mj) / MILLIJOULES_PER_WH

    def _read_mj(self) -> int | None:
        if self._handle is None:
            return None
        try:
            # Inside a container this list is usually empty, so that another user's process is not
            # seen there. Other workers of the same study are known anyway, by `shares_gpu`.
            if len(pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle)) <= 1:
                return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except pynvml.NVMLError:
            pass  # not supported by this GPU, or not permitted
        self._handle = None
        return None


def _nvml_handle(device: torch.device) -> Any:
    """NVML's handle of the board of a CUDA device; None without NVML, and for a slice."""
    if pynvml is None or device.type != "cuda":
        return None
    # By UUID: NVML numbers all boards in the order of the bus, CUDA numbers the visible ones with
    # the fastest first. NVML ignores CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER.
    uuid = torch.cuda.get_device_properties(device).uuid
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")  # fails for a slice's UUID
    except pynvml.NVMLError:
        return None
    try:
        is_sliced = pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    except pynvml.NVMLError:  # a GPU without MIG
        is_sliced = False
    return None if is_sliced else handle


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
