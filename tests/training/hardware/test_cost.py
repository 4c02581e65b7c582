import mmap

import pytest
import torch
from torch import nn

from harness.core.errors import ConfigError
from harness.models.build import build_network
from harness.training.hardware import cost
from harness.training.hardware.cost import (
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
    with pytest.raises(ConfigError, match=r"32 x 32 pixels: the network answers with \(16, 16\)"):
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
