"""A batch in parts: the same loss and gradients as in one piece."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from harness.config import TrialConfig
from harness.data_config import VOID, StudyDataConfig
from harness.errors import ConfigError
from harness.training.errors import TooLargeError
from harness.training.gradients import Gradients
from harness.training.losses import Loss, build_loss
from harness.training.memory import Memory

LOSS = {"loss.dice": 1.0, "loss.bce": 2.0, "loss.lovasz": 0.5, "loss.focal": 1.0}


def loss() -> Loss:
    data = StudyDataConfig(ignore_index=9)  # becomes VOID when masks are read
    return build_loss(TrialConfig.from_flat(LOSS).loss, data)


def batch(n: int) -> tuple[Tensor, Tensor]:
    """Images (n, 3, 8, 8) and masks that differ in how much of them is found and void."""
    random = torch.Generator().manual_seed(4)
    masks = (torch.rand(n, 8, 8, generator=random) < torch.linspace(0, 1, n)[:, None, None]).byte()
    masks[-1, :, :5] = VOID
    return torch.randn(n, 3, 8, 8, generator=random), masks


def network(*more: nn.Module) -> nn.Sequential:
    torch.manual_seed(9)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), *more, nn.ReLU(), nn.Conv2d(6, 1, 1))


def gradients_of(net: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def gradients(
    net: nn.Module, memory: Memory, forward: Callable[[Tensor], Tensor] | None = None
) -> Gradients:
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return Gradients(net, forward or net, loss(), scaler, memory, half=None)


def too_large(net: nn.Module, most: int) -> Callable[[Tensor], Tensor]:
    def forward(images: Tensor) -> Tensor:
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        result: Tensor = net(images)
        return result

    return forward


@pytest.mark.parametrize(("n", "at_once"), [(6, 3), (6, 1), (7, 3), (5, 4)])
def test_gradient_of_parts_is_that_of_the_batch(n: int, at_once: int) -> None:
    """For losses of pixels, of images and of the whole batch alike, with void pixels."""
    images, masks = batch(n)
    whole, parted = network(), network()
    expected = loss()(whole(images), masks)
    expected.total.backward()
    value = gradients(parted, Memory(n, at_once))(images, masks)
    torch.testing.assert_close(value.total, expected.total.detach())
    assert value.parts.keys() == expected.parts.keys()
    torch.testing.assert_close(gradients_of(parted), gradients_of(whole), rtol=1e-4, atol=1e-7)


def test_dropout_and_batchnorm_act_once_in_each_part() -> None:
    images, masks = batch(6)
    plain, parted = (network(nn.BatchNorm2d(6), nn.Dropout2d(0.5)) for _ in range(2))
    torch.manual_seed(3)
    logits = torch.cat([plain(images[:2]), plain(images[2:4]), plain(images[4:])])
    loss()(logits, masks).total.backward()
    torch.manual_seed(3)
    gradients(parted, Memory(6, 2))(images, masks)
    torch.testing.assert_close(gradients_of(parted), gradients_of(plain), rtol=1e-4, atol=1e-7)
    statistics = dict(plain.named_buffers())
    for name, value in parted.named_buffers():
        assert torch.equal(value, statistics[name]), name


def test_out_of_memory_halves_what_is_trained_at_once() -> None:
    images, masks = batch(6)
    whole, parted = network(), network()
    loss()(whole(images), masks).total.backward()
    told: list[int] = []
    memory = Memory(6, on_less=told.append)
    gradients(parted, memory, too_large(parted, 2))(images, masks)
    assert told == [3, 2] and memory.at_once == 2
    torch.testing.assert_close(gradients_of(parted), gradients_of(whole), rtol=1e-4, atol=1e-7)


def test_below_one_image_it_gives_up() -> None:
    net, told = network(), list[int]()
    memory = Memory(6, on_less=told.append)
    with pytest.raises(TooLargeError, match="not even one image fits into memory: CUDA out"):
        gradients(net, memory, too_large(net, 0))(*batch(6))
    assert told == [3, 2, 1]


def test_parts_too_small_for_batchnorm_are_a_lack_of_memory_and_no_bad_setting() -> None:
    """Pooled to one pixel, BatchNorm needs two images; the batch has them, a part has not."""
    net = network(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(6), nn.Upsample((8, 8)))
    images, masks = batch(4)
    gradients(net, Memory(4, 2))(images, masks)
    with pytest.raises(TooLargeError, match=r"more than 1 of 4 images at once.*BatchNorm"):
        gradients(net, Memory(4, 1))(images, masks)
    with pytest.raises(ConfigError, match=r"train.batch_size: BatchNorm has a single value"):
        gradients(net, Memory(1))(images[:1], masks[:1])


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def broken(images: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        gradients(network(), Memory(4), broken)(*batch(4))
