import mmap
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from harness.core.errors import ConfigError
from harness.models.build import build_network
from harness.training.hardware import cost
from harness.training.hardware.cost import (
    EnergyMeter,
    count_parameters,
    measure_forward_gflops,
    peak_memory_mb,
    reset_peak_memory,
)
from tests.training.conftest import settings

CPU = torch.device("cpu")


def test_parameters_are_counted_frozen_ones_too() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network[0].requires_grad_(False)
    assert count_parameters(network) == 3 * 4 * 9 + 4 + 4 + 4


def test_gflops_of_a_convolution_by_hand() -> None:
    """10 x 12 pixels, 27 inputs and 8 outputs each, two operations per product."""
    network = nn.Conv2d(3, 8, 3, padding=1)
    assert measure_forward_gflops(network, (10, 12)) == pytest.approx(10 * 12 * 27 * 8 * 2 / 1e9)


def test_size_that_the_network_refuses_is_a_configuration_error() -> None:
    network = build_network(settings(model__encoder_depth=5).model)
    with pytest.raises(ConfigError, match=r"data.image_size: 48 x 40 pixels: .*divisible by 32"):
        measure_forward_gflops(network, (48, 40))


def test_answer_of_another_size_is_a_configuration_error() -> None:
    with pytest.raises(
        ConfigError, match=r"32 x 32 pixels: the network.s output has the size \(16, 16\)"
    ):
        measure_forward_gflops(nn.Conv2d(3, 1, 2, stride=2), (32, 32))


def hold_for_a_moment(megabytes: int) -> None:
    """Touch memory fresh from the system: what the allocator kept of earlier tests is no peak."""
    with mmap.mmap(-1, megabytes * 1_000_000) as held:
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1


def test_peak_memory_sees_what_was_held_since_the_reset_only() -> None:
    hold_for_a_moment(640)
    if not reset_peak_memory(CPU):
        pytest.skip("this system does not let a process reset its peak memory")
    before = peak_memory_mb(CPU)
    hold_for_a_moment(320)
    assert 200 < peak_memory_mb(CPU) - before < 500


@pytest.mark.parametrize("told", [1e6, float("nan")])
def test_a_peak_that_is_not_ours_is_not_told(told: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "peak_memory_mb", lambda device: told)
    assert not reset_peak_memory(CPU)


@pytest.mark.parametrize("text", ["CUDA error: out of memory", "cuDNN: CUDNN_STATUS_ALLOC_FAILED"])
def test_lack_of_memory_is_not_taken_for_a_refusal_of_the_size(text: str) -> None:
    class Full(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(text)

    with pytest.raises(RuntimeError, match=text.split(":")[0]):
        measure_forward_gflops(Full(), (32, 32))


CUDA = torch.device("cuda:0")
UUID = "11111111-2222-3333-4444-555555555555"


class FakeNvmlError(Exception):
    pass


class FakeNvml:
    """A driver with one board, whose counter shows `energy_mj` one value after another."""

    NVMLError = FakeNvmlError
    NVML_DEVICE_MIG_ENABLE = 1

    def __init__(self, *energy_mj: int) -> None:
        self.energy_mj = list(energy_mj)
        self.processes: list[int] = [1]
        self.mig_mode: int | None = 0
        self.uuids = [f"GPU-{UUID}"]
        self.is_loaded = self.counts_energy = True

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's names
        if not self.is_loaded:
            raise FakeNvmlError("driver not loaded")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid not in self.uuids:
            raise FakeNvmlError("not found")
        return uuid

    def nvmlDeviceGetMigMode(self, handle: str) -> list[int]:  # noqa: N802
        if self.mig_mode is None:
            raise FakeNvmlError("not supported")
        return [self.mig_mode, self.mig_mode]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[int]:  # noqa: N802
        return self.processes

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        if not self.counts_energy:
            raise FakeNvmlError("not supported")
        return self.energy_mj.pop(0)


def install(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml | None) -> None:
    monkeypatch.setattr(cost, "pynvml", nvml)
    properties: Any = SimpleNamespace(uuid=UUID)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)


def test_energy_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """250 W for 36 s are 9000 J, and 3600 J are a watt-hour: 2.5 Wh; then twice as long."""
    install(monkeypatch, FakeNvml(7_000_000, 16_000_000, 25_000_000))
    meter = EnergyMeter(CUDA)
    assert meter.used_wh() == 2.5
    assert meter.used_wh() == 5.0


def test_gpu_that_knows_no_slices_tells_its_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(0, 3_600_000)
    nvml.mig_mode = None
    install(monkeypatch, nvml)
    assert EnergyMeter(CUDA).used_wh() == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"is_loaded": False},
        {"counts_energy": False},  # before Volta
        {"mig_mode": 1},  # a slice whose UUID is that of its board
        {"uuids": []},  # a slice with a UUID of its own
        {"processes": [1, 2]},
    ],
)
def test_energy_that_is_not_of_this_process_alone_is_not_recorded(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml = FakeNvml(0, 3_600_000)
    vars(nvml).update(changes)
    install(monkeypatch, nvml)
    assert EnergyMeter(CUDA).used_wh() is None


def test_another_worker_on_the_gpu_leaves_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeNvml(0, 3_600_000))
    assert EnergyMeter(CUDA, shares_gpu=True).used_wh() is None


def test_neighbour_that_comes_and_goes_spoils_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(0, 3_600_000, 7_200_000)
    install(monkeypatch, nvml)
    meter = EnergyMeter(CUDA)
    nvml.processes = [1, 2]
    assert meter.used_wh() is None
    nvml.processes = [1]
    assert meter.used_wh() is None


def test_counter_that_goes_backwards_leaves_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeNvml(9_000_000, 1_000, 18_000_000))
    meter = EnergyMeter(CUDA)
    assert meter.used_wh() is None
    assert meter.used_wh() is None, "what came before the driver was loaded again is lost"


@pytest.mark.parametrize("device", [CPU, torch.device("mps"), CUDA])
def test_no_binding_or_no_cuda_device_no_energy(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, None if device == CUDA else FakeNvml(0, 1))
    assert EnergyMeter(device).used_wh() is None
