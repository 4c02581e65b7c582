"""Buffers and random numbers are put back as they were."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.training.hardware.buffer_snapshot import (
    BufferSnapshot,
    random_states,
    set_random_states,
)

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
    before = BufferSnapshot(network, CPU)
    for _ in range(2):
        network(torch.randn(4, 2))
        before.restore()
        for name, buffer in network.named_buffers():
            assert buffer is buffers[name] and torch.equal(buffer, values[name]), name


def test_one_snapshot_follows_what_a_network_does_to_its_buffers() -> None:
    """Changed in place, replaced, resized, registered late, gone, or in a layer of its own."""
    network = nn.Sequential(nn.BatchNorm1d(2), Replacing())
    norm, replacing = network[0], network[1]
    replacing.register_buffer("late", None)
    snapshot = BufferSnapshot(network, CPU)

    def bank() -> None:
        replacing.late = torch.ones(3)

    def resize() -> None:
        replacing.late.data = torch.arange(5.0)

    def register() -> None:
        norm.register_buffer("more", torch.full((2, 2), 7.0))

    def remove() -> None:
        del norm.more

    def exchange() -> None:
        network[0] = nn.BatchNorm1d(2)

    changes = [lambda: network(torch.randn(4, 2)), bank, resize, register, remove, exchange]
    for change in [*changes, changes[0]]:
        change()
        snapshot.update()
        buffers = dict(network.named_buffers())
        values = {name: buffer.clone() for name, buffer in buffers.items()}
        for _ in range(2):
            network(torch.randn(4, 2))
            for buffer in network.buffers():
                buffer.add_(1)
            snapshot.restore()
            restored = dict(network.named_buffers())
            assert restored.keys() == buffers.keys()
            for name, buffer in restored.items():
                assert buffer is buffers[name] and torch.equal(buffer, values[name]), name


def test_a_buffer_that_was_none_becomes_none_again() -> None:
    network = Replacing()
    network.register_buffer("late", None)
    before = BufferSnapshot(network, CPU)
    network.late = torch.ones(3)
    before.restore()
    assert network.late is None


def test_expanded_buffer_which_nothing_can_change_stays() -> None:
    """Masks of attention are made so; torch refuses to write into one."""
    network = Replacing()
    network.register_buffer("mask", torch.arange(4.0).expand(3, 4), persistent=False)
    before, count = BufferSnapshot(network, CPU), network.count
    network(torch.zeros(1))
    before.update()
    before.restore()
    assert network.count.tolist() == [1.0, 1.0] and network.count is not count
    assert network.mask.tolist() == [[0.0, 1.0, 2.0, 3.0]] * 3


def test_buffers_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the steps of a training a network that stays as it is costs no walk through its layers."""
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    snapshot = BufferSnapshot(network, CPU)
    network(torch.randn(4, 2))
    values = [buffer.clone() for buffer in network.buffers()]
    with monkeypatch.context() as patched:
        patched.setattr(nn.Module, "modules", lambda _: pytest.fail("looked for again"))
        snapshot.update()
    network(torch.randn(4, 2))
    snapshot.restore()
    assert all(map(torch.equal, network.buffers(), values))


def test_random_numbers_are_drawn_again() -> None:
    torch.manual_seed(1)
    before = BufferSnapshot(nn.Identity(), CPU)
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
    before = BufferSnapshot(nn.Identity(), torch.device("mps"))
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
