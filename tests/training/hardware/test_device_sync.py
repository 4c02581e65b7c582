"""What waits for the device: once per epoch and once per validation, however many batches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.training.hardware.device_sync import AsyncScalar, timed_forward
from harness.training.loop.errors import DivergedError
from tests.training.conftest import Pictures
from tests.training.loop.test_trainer import trainer
from tests.training.metrics.test_validation import Red, cache_of, run

WAITING = ("item", "tolist", "cpu", "__float__", "__int__", "__bool__", "__index__", "nonzero")


class Waits:
    """Counts how often a number was asked of a tensor."""

    def __init__(self) -> None:
        self.n = 0

    @contextmanager
    def counted(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        with monkeypatch.context() as patch:
            for name in WAITING:
                patch.setattr(torch.Tensor, name, self._counting(getattr(torch.Tensor, name)))
            yield

    def _counting(self, method: Any) -> Any:
        def counting(tensor: torch.Tensor, *args: Any) -> Any:
            self.n += 1
            return method(tensor, *args)

        return counting


def test_a_glance_keeps_the_number_as_it_was() -> None:
    value = torch.tensor(3.5, requires_grad=True)
    glance = AsyncScalar(value * 2)
    assert glance.read() == 7.0


def test_milliseconds_are_of_the_network() -> None:
    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(20):
                torch.linalg.svd(torch.ones(40, 40))
            return x

    _, slow = timed_forward(Slow(), torch.zeros(1))
    _, quick = timed_forward(nn.Identity(), torch.zeros(1))
    assert slow() > quick() >= 0


@pytest.mark.parametrize("n_images", [4, 12])
def test_validation_waits_once(n_images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((n_images, 4, 4, 3), np.uint8)
    cache = cache_of(images, np.ones((n_images, 4, 4), np.uint8), (0, 0, 4, 4))
    waits = Waits()
    with waits.counted(monkeypatch):
        run(Red(), cache)
    assert waits.n == 3  # for the sums; the check of them and their list are on the host by then


@pytest.mark.parametrize("subset", [0.25, 1.0])
def test_training_waits_once_an_epoch(
    subset: float, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = trainer(pictures, train__batch_size=2, data__subset=subset)
    training.train_epoch(1)
    waits = Waits()
    with waits.counted(monkeypatch):
        training.train_epoch(2)
    assert waits.n == 1


def test_a_loss_that_is_no_number_is_seen_at_the_next_look(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.training.loop.trainer._CHECK_EVERY", 1)
    training = trainer(pictures, train__batch_size=2)
    next(training.network.parameters()).data.fill_(float("nan"))
    steps: list[int] = []
    taken = training._step
    monkeypatch.setattr(training, "_step", lambda n, *rest: steps.append(n) or taken(n, *rest))
    with pytest.raises(DivergedError):
        training.train_epoch(1)
    assert steps == [0, 1]
