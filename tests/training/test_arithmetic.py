"""What autocast would make slower stays in fp32, and every gradient is that of the network."""

from collections import Counter
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.training.arithmetic import computed_in

CPU = torch.device("cpu")


class Convolutions(TorchDispatchMode):
    """Counts what is computed, by shape of the weights, stride and type."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[tuple[int, int, str]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            weight, stride, groups = args[1], args[3], args[8]
            if groups > 1:
                kind = str(weight.dtype).removeprefix("torch.")
                self.seen[weight.shape[-1], stride[0], kind] += 1
        return func(*args, **(kwargs or {}))


def grouped(half: torch.dtype | None, network: nn.Module, inputs: Tensor) -> set[Any]:
    with Convolutions() as counted, computed_in(half, CPU):
        network(inputs)
    return set(counted.seen)


def test_depthwise_convolutions_that_stride_or_are_large_stay_in_fp32() -> None:
    network = nn.Sequential(
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 8, 3, groups=8, stride=2),
        nn.Conv2d(8, 8, 5, groups=8),
    )
    inputs = torch.randn(2, 8, 32, 32)
    assert grouped(torch.bfloat16, network, inputs) == {
        (3, 1, "bfloat16"),
        (3, 2, "float32"),
        (5, 1, "float32"),
    }
    assert {kind for _, _, kind in grouped(None, network, inputs)} == {"float32"}


def test_grouped_convolutions_are_no_depthwise_ones() -> None:
    network = nn.Conv2d(16, 16, 5, groups=4, stride=2)
    assert grouped(torch.bfloat16, network, torch.randn(2, 16, 32, 32)) == {(5, 2, "bfloat16")}


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "efficientnet-b0", "tu-mobilenetv3_large_100"])
def test_no_encoder_escapes_by_a_padding_of_its_own(encoder: str) -> None:
    network = smp.Unet(encoder, encoder_weights=None).eval()
    found = grouped(torch.bfloat16, network, torch.randn(1, 3, 64, 64))
    slow = {kind for size, stride, kind in found if size > 3 or stride > 1}
    assert slow == {"float32"}


def test_what_follows_is_computed_in_half_again() -> None:
    kept = nn.Conv2d(8, 8, 5, groups=8)
    with computed_in(torch.bfloat16, CPU):
        assert kept(torch.randn(1, 8, 16, 16)).dtype == torch.bfloat16
    assert kept(torch.randn(1, 8, 16, 16)).dtype == torch.float32


def test_gradients_are_those_of_fp32_but_for_rounding() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 5, groups=8, stride=2), nn.Conv2d(8, 1, 1))
    inputs, gradients = torch.randn(2, 8, 32, 32), []
    for half in (None, torch.bfloat16):
        network.zero_grad()
        with computed_in(half, CPU):
            answer = network(inputs)
        answer.float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))  # type: ignore[union-attr]
    exact, short = gradients
    assert not torch.equal(exact, short)
    assert torch.linalg.norm(exact - short) < 0.02 * torch.linalg.norm(exact)
