"""Buffers and random numbers are put back as they were."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.training.snapshot import Snapshot, random_states, set_random_states

CPU = torch.device("cpu")


class Replacing(nn.Module):
    """Gives its buffer a new tensor in each step instead of changing it in place."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(2))

    def forward(self, inputs: Tensor) -> Tensor:
        self.count = self.count + 1
        return inputs


def test_buffers_are_put_back_also_where_they_were_replaced() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), Replacing())
    buffers = dict(network.named_buffers())
    values = {name: buffer.clone() for name, buffer in buffers.items()}
    before = Snapshot(network, CPU)
    for _ in range(2):
        network(torch.randn(4, 2))
        before.restore()
        for name, buffer in network.named_buffers():
            assert buffer is buffers[name] and torch.equal(buffer, values[name]), name


def test_random_numbers_are_drawn_again() -> None:
    torch.manual_seed(1)
    before = Snapshot(nn.Identity(), CPU)
    first = torch.rand(3)
    before.restore()
    assert torch.equal(torch.rand(3), first)


class Metal:
    """Stands for torch.mps, whose state has 44 bytes."""

    def __init__(self) -> None:
        self.state = torch.arange(44, dtype=torch.uint8)

    def get_rng_state(self) -> Tensor:
        return self.state.clone()

    def set_rng_state(self, state: Tensor) -> None:
        self.state = state


def test_random_numbers_of_metal_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    metal: Any = Metal()
    monkeypatch.setattr(torch, "mps", metal)
    before = Snapshot(nn.Identity(), torch.device("mps"))
    metal.state = metal.state + 1
    before.restore()
    assert metal.state.tolist() == [*range(44)]


@pytest.mark.parametrize("n_bytes", [None, 16])
def test_state_of_another_kind_of_device_sets_the_cpus_only(
    monkeypatch: pytest.MonkeyPatch, n_bytes: int | None
) -> None:
    """A checkpoint of a CPU has none, one of CUDA has 16 bytes."""
    metal: Any = Metal()
    torch.manual_seed(5)
    monkeypatch.setattr(torch, "mps", metal)
    states = random_states(CPU) + ([] if n_bytes is None else [torch.zeros(n_bytes)])
    expected = torch.rand(3)
    set_random_states(states, torch.device("mps"))
    assert torch.equal(torch.rand(3), expected) and metal.state.tolist() == [*range(44)]
