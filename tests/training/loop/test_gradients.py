"""A batch in parts: the same loss and gradients as in one piece."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.study import TrialConfig
from harness.core.errors import ConfigError
from harness.training.hardware.batch_splitting import MicroBatcher
from harness.training.loop.errors import TooLargeError
from harness.training.loop.gradients import BatchGradients, split_micro_batches
from harness.training.loss.combined_loss import CombinedLoss, build_training_loss

LOSS = {"loss.dice": 1.0, "loss.bce": 2.0, "loss.lovasz": 0.5, "loss.focal": 1.0}


def loss() -> CombinedLoss:
    data = StudyDataConfig(ignore_index=9)  # becomes VOID when masks are read
    return build_training_loss(TrialConfig.from_flat(LOSS).loss, data)


def batch(n: int) -> tuple[Tensor, Tensor]:
    """Images (n, 3, 8, 8) and masks that differ in how much of them is found and void."""
    random = torch.Generator().manual_seed(4)
    masks = (torch.rand(n, 8, 8, generator=random) < torch.linspace(0, 1, n)[:, None, None]).byte()
    masks[-1, :, :5] = IGNORE_INDEX
    return torch.randn(n, 3, 8, 8, generator=random), masks


def network(*more: nn.Module) -> nn.Sequential:
    torch.manual_seed(9)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), *more, nn.ReLU(), nn.Conv2d(6, 1, 1))


def gradients_of(net: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def gradients(
    net: nn.Module, memory: MicroBatcher, forward: Callable[[Tensor], Tensor] | None = None
) -> BatchGradients:
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return BatchGradients(net, forward or net, loss(), scaler, memory, autocast_dtype=None)


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
    value = gradients(parted, MicroBatcher(n, at_once))(images, masks)
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
    gradients(parted, MicroBatcher(6, 2))(images, masks)
    torch.testing.assert_close(gradients_of(parted), gradients_of(plain), rtol=1e-4, atol=1e-7)
    statistics = dict(plain.named_buffers())
    for name, value in parted.named_buffers():
        assert torch.equal(value, statistics[name]), name


def test_out_of_memory_halves_what_is_trained_at_once() -> None:
    images, masks = batch(6)
    whole, parted = network(), network()
    loss()(whole(images), masks).total.backward()
    told: list[int] = []
    memory = MicroBatcher(6, on_reduce=told.append)
    gradients(parted, memory, too_large(parted, 2))(images, masks)
    assert told == [3, 2] and memory.micro_batch_size == 2
    torch.testing.assert_close(gradients_of(parted), gradients_of(whole), rtol=1e-4, atol=1e-7)


def test_below_one_image_it_gives_up() -> None:
    net, told = network(), list[int]()
    memory = MicroBatcher(6, on_reduce=told.append)
    with pytest.raises(TooLargeError, match="not even one image fits into memory: CUDA out"):
        gradients(net, memory, too_large(net, 0))(*batch(6))
    assert told == [3, 2, 1]


def test_parts_too_small_for_batchnorm_are_a_lack_of_memory_and_no_bad_setting() -> None:
    """Pooled to one pixel, BatchNorm needs two images; the batch has them, a part has not."""
    net = network(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(6), nn.Upsample((8, 8)))
    images, masks = batch(4)
    gradients(net, MicroBatcher(4, 2))(images, masks)
    with pytest.raises(TooLargeError, match=r"more than 1 of 4 images per pass.*BatchNorm"):
        gradients(net, MicroBatcher(4, 1))(images, masks)
    with pytest.raises(ConfigError, match=r"train.batch_size: BatchNorm has a single value"):
        gradients(net, MicroBatcher(1))(images[:1], masks[:1])


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def broken(images: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        gradients(network(), MicroBatcher(4), broken)(*batch(4))


def with_memory(most: int) -> nn.Sequential:
    """BatchNorm, dropout and spectral norm, then a layer that holds so many images."""
    torch.manual_seed(9)
    last = nn.utils.parametrizations.spectral_norm(nn.Conv2d(6, 1, 1))
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Dropout2d(0.5), Full(most), last
    )
    return net.train()


class Full(nn.Module):
    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images


@pytest.mark.parametrize("most", [1, 2, 4])
def test_attempts_that_run_out_of_memory_leave_nothing_behind(most: int) -> None:
    """One that finds out how many images fit equals one that was told: buffers, dropout too."""
    images, masks = batch(8)
    nets = [with_memory(most) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    seen = []
    for net, at_once in zip(nets, (most, None), strict=True):
        torch.manual_seed(3)
        value = gradients(net, MicroBatcher(8, at_once))(images, masks)
        buffers = [buffer.clone() for buffer in net.buffers()]
        seen.append([value.total.detach(), gradients_of(net), *buffers, torch.get_rng_state()])
    assert all(torch.equal(told, found) for told, found in zip(*seen, strict=True))


def test_what_is_not_even_possible_with_one_image_leaves_nothing_behind() -> None:
    net = with_memory(0)
    torch.manual_seed(3)
    random, buffers = torch.get_rng_state(), [buffer.clone() for buffer in net.buffers()]
    with pytest.raises(TooLargeError, match="not even one image fits into memory"):
        gradients(net, MicroBatcher(8))(*batch(8))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(map(torch.equal, net.buffers(), buffers))
    assert all(p.grad is None for p in net.parameters())


def test_first_pass_puts_everything_back_whatever_goes_wrong_in_it() -> None:
    net = with_memory(8)

    def broken(images: Tensor) -> Tensor:
        net(images)
        raise RuntimeError("shapes do not match")

    torch.manual_seed(3)
    random, buffers = torch.get_rng_state(), [buffer.clone() for buffer in net.buffers()]
    with pytest.raises(RuntimeError, match="shapes do not match"):
        gradients(net, MicroBatcher(8, 4), broken)(*batch(8))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(map(torch.equal, net.buffers(), buffers))


def test_leftovers_that_a_collection_frees_cost_no_images() -> None:
    """Out of memory once, and not again: the batch stays whole, its gradient that of the batch."""
    images, masks = batch(6)
    whole, net = network(), network()
    loss()(whole(images), masks).total.backward()
    failures, told = [torch.OutOfMemoryError("CUDA out of memory")], list[int]()

    def forward(images: Tensor) -> Tensor:
        if failures:
            raise failures.pop()
        answer: Tensor = net(images)
        return answer

    memory = MicroBatcher(6, on_reduce=told.append)
    gradients(net, memory, forward)(images, masks)
    assert memory.micro_batch_size == 6 and told == []
    torch.testing.assert_close(gradients_of(net), gradients_of(whole))


@pytest.mark.parametrize("n", range(1, 20))
@pytest.mark.parametrize("at_once", range(1, 9))
def test_parts_count_each_image_once_and_none_is_alone_where_two_fit(n: int, at_once: int) -> None:
    parts = split_micro_batches(n, at_once)
    assert [k for part in parts for k in range(part.first_counted, part.end)] == [*range(n)]
    sizes = [part.end - part.first for part in parts]
    assert max(sizes) <= at_once and len(parts) == -(-n // at_once)
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(2, n, at_once)


def test_last_odd_image_of_a_batch_trains_a_network_that_needs_two() -> None:
    """3 images, 2 fit: the third goes with the second, whose answer is not counted again."""
    net, plain = (
        network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(6), nn.Upsample((8, 8))))
        for _ in range(2)
    )
    images, masks = batch(3)
    logits = torch.cat([plain(images[:2]), plain(images[1:])[1:]])
    expected = loss()(logits, masks)
    expected.total.backward()
    memory = MicroBatcher(8, 2)
    value = gradients(net, memory, too_large(net, 2))(images, masks)
    assert memory.micro_batch_size == 2
    torch.testing.assert_close(value.total, expected.total.detach())
    torch.testing.assert_close(gradients_of(net), gradients_of(plain), rtol=1e-4, atol=1e-7)
