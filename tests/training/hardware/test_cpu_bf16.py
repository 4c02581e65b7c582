"""What autocast would make slower stays in fp32, and every gradient is that of the network."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from harness.core.paths import TrialPaths
from harness.training.hardware.device import keep_depthwise_in_fp32
from harness.training.hardware.device_facts import Precision
from harness.training.loop.setup import TrainingInputs, prepare_training
from tests.training.conftest import Pictures, settings


def bf16(enabled: bool = True) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)


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


def grouped(network: nn.Module, inputs: Tensor, *, enabled: bool = True) -> set[Any]:
    keep_depthwise_in_fp32(network)
    with Convolutions() as counted, bf16(enabled):
        network(inputs)
    return set(counted.seen)


def test_depthwise_convolutions_that_stride_or_are_large_stay_in_fp32() -> None:
    network = nn.Sequential(
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 8, 3, groups=8, stride=2),
        nn.Conv2d(8, 8, 5, groups=8),
    )
    inputs = torch.randn(2, 8, 32, 32)
    assert grouped(network, inputs) == {
        (3, 1, "bfloat16"),
        (3, 2, "float32"),
        (5, 1, "float32"),
    }
    assert {kind for _, _, kind in grouped(network, inputs, enabled=False)} == {"float32"}


def test_grouped_convolutions_are_no_depthwise_ones() -> None:
    network = nn.Conv2d(16, 16, 5, groups=4, stride=2)
    assert grouped(network, torch.randn(2, 16, 32, 32)) == {(5, 2, "bfloat16")}


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "efficientnet-b0", "tu-mobilenetv3_large_100"])
def test_no_encoder_escapes_by_a_padding_of_its_own(encoder: str) -> None:
    network = smp.Unet(encoder, encoder_weights=None).eval()
    found = grouped(network, torch.randn(1, 3, 64, 64))
    slow = {kind for size, stride, kind in found if size > 3 or stride > 1}
    assert slow == {"float32"}


def test_what_follows_is_computed_in_half_again() -> None:
    kept = nn.Conv2d(8, 8, 5, groups=8)
    keep_depthwise_in_fp32(kept)
    with bf16():
        assert kept(torch.randn(1, 8, 16, 16)).dtype == torch.bfloat16
    assert kept(torch.randn(1, 8, 16, 16)).dtype == torch.float32


def test_gradients_are_those_of_fp32_but_for_rounding() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 5, groups=8, stride=2), nn.Conv2d(8, 1, 1))
    keep_depthwise_in_fp32(network)
    inputs, gradients = torch.randn(2, 8, 32, 32), []
    for enabled in (False, True):
        network.zero_grad()
        with bf16(enabled):
            answer = network(inputs)
        answer.float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))  # type: ignore[union-attr]
    exact, short = gradients
    assert not torch.equal(exact, short)
    assert torch.linalg.norm(exact - short) < 0.02 * torch.linalg.norm(exact)


def test_activations_that_are_computed_again_are_the_same() -> None:
    """As in a network that saves memory, and computes them once more in its backward pass."""
    network = nn.Sequential(nn.Conv2d(8, 8, 5, groups=8), nn.SiLU(), nn.Conv2d(8, 1, 1))
    keep_depthwise_in_fp32(network)
    inputs, gradients = torch.randn(2, 8, 16, 16), []
    for again in (False, True):
        network.zero_grad()
        with bf16():
            answer = checkpoint(network, inputs, use_reentrant=False) if again else network(inputs)
        answer.float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))  # type: ignore[union-attr]
    assert torch.equal(*gradients)


def test_weights_in_bf16_and_what_a_network_takes_out_of_autocast_are_left_alone() -> None:
    inputs, exact = torch.randn(1, 8, 16, 16), nn.Conv2d(8, 8, 5, groups=8)
    short = copy.deepcopy(exact).bfloat16()
    keep_depthwise_in_fp32(exact)
    keep_depthwise_in_fp32(short)
    with bf16():
        assert short(inputs).dtype == torch.bfloat16
        with bf16(enabled=False):
            assert exact(inputs).dtype == torch.float32


def test_a_forward_that_somebody_has_replaced_is_left_alone() -> None:
    convolution = nn.Conv2d(8, 8, 5, groups=8)
    convolution.forward = lambda inputs: inputs + 1  # type: ignore[method-assign]
    keep_depthwise_in_fp32(convolution)
    with bf16():
        assert torch.equal(convolution(torch.zeros(2)), torch.ones(2))


def test_a_copy_computes_with_its_own_weights() -> None:
    """As the moving average is one, and what it holds is saved under the usual names."""
    network = nn.Sequential(nn.Conv2d(8, 8, 5, groups=8))
    names = list(network.state_dict())
    keep_depthwise_in_fp32(network)
    other = copy.deepcopy(network)
    nn.init.zeros_(other[0].weight)  # type: ignore[arg-type]
    nn.init.zeros_(other[0].bias)  # type: ignore[arg-type]
    with bf16():
        assert not other(torch.randn(1, 8, 16, 16)).any()
    assert list(other.state_dict()) == names


@pytest.mark.parametrize(("precision", "others"), [("bf16", "bfloat16"), ("fp32", "float32")])
def test_a_training_has_them_in_fp32(
    precision: Precision, others: str, pictures: Pictures, tmp_path: Path
) -> None:
    config = settings()
    cache = pictures.cache(size=config.data.height_width)
    made = prepare_training(
        TrainingInputs(
            config,
            cache,
            pictures.names,
            TrialPaths(tmp_path),
            seed=0,
            device=torch.device("cpu"),
            precision=precision,
            augments=None,
        ),
        pretrained=False,
    )
    with Convolutions() as counted:
        next(made.trainer.train_steps(1))
    assert {kind for _, stride, kind in counted.seen if stride > 1} == {"float32"}
    assert {kind for _, stride, kind in counted.seen if stride == 1} == {others}
