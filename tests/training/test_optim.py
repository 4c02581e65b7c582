from typing import Any

import pytest
import torch
from torch import nn

from harness.config import OptimConfig
from harness.models.build import build_network, split_parameters
from harness.training.optim import MovingAverage, build_optimizer, set_rates, train_mode
from harness.training.schedule import Schedule
from tests.training.conftest import settings


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return build_network(settings().model)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({}, (0.01, 0.01)),
        ({"encoder_lr": 0.5}, (0.5, 0.01)),
        ({"encoder_lr_scale": 0.1}, (0.001, 0.01)),
        ({"decoder_lr": 0.3}, (0.01, 0.3)),
        ({"encoder_lr_scale": 2.0, "decoder_lr": 0.3}, (0.02, 0.3)),
    ],
)
def test_encoder_and_the_rest_have_their_own_rates(
    network: nn.Module, rates: dict[str, float], expected: tuple[float, float]
) -> None:
    optimizer = build_optimizer(network, OptimConfig(lr=0.01, **rates))  # type: ignore[arg-type]
    encoder, rest = optimizer.param_groups
    assert (encoder["lr"], rest["lr"]) == pytest.approx(expected)
    for group, part in zip((encoder, rest), split_parameters(network), strict=True):
        assert {id(p) for p in group["params"]} == {id(p) for p in part}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_each_name_is_torchs_optimiser(network: nn.Module, name: str, kind: type) -> None:
    config = OptimConfig.model_validate({"name": name, "weight_decay": 0.03, "momentum": 0.7})
    optimizer = build_optimizer(network, config)
    assert type(optimizer) is kind
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.03}
    set_rates(optimizer, Schedule("constant", 10, 0), 0)
    for group in optimizer.param_groups:
        assert group["momentum"] == 0.7 if name == "sgd" else group["betas"] == (0.9, 0.999)


def test_rates_of_both_groups_follow_the_schedule_from_their_own_peak(network: nn.Module) -> None:
    optimizer = build_optimizer(network, OptimConfig(lr=0.1, encoder_lr=0.02))
    for step in (7, 5, 5):
        set_rates(optimizer, Schedule("cosine", 10, 0), step)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.05])


@pytest.mark.parametrize(("name", "low", "high"), [("sgd", 0.6, 0.7), ("adamw", 0.85, 0.95)])
def test_onecycle_moves_the_momentum_of_either_kind(
    network: nn.Module, name: str, low: float, high: float
) -> None:
    config = OptimConfig.model_validate({"name": name, "momentum": 0.7, "schedule": "onecycle"})
    optimizer, schedule = build_optimizer(network, config), Schedule("onecycle", 10, 0)
    seen = []
    for step in range(10):
        set_rates(optimizer, schedule, step)
        group = optimizer.param_groups[0]
        seen.append(group["momentum"] if name == "sgd" else group["betas"][0])
    assert (seen[0], min(seen), seen[-1]) == pytest.approx((high, low, high))


def trained_step(network: Any, *, frozen: bool) -> tuple[dict[str, torch.Tensor], ...]:
    """Encoder and decoder states before and after one step of training."""
    optimizer = build_optimizer(network, OptimConfig(weight_decay=0.1))
    train_mode(network, encoder_frozen=frozen)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    return before, network.state_dict()


def test_frozen_encoder_keeps_weights_and_statistics_while_the_rest_learns(
    network: nn.Module,
) -> None:
    before, after = trained_step(network, frozen=True)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and not {name for name in changed if name.startswith("encoder.")}


def test_thawed_encoder_learns_and_counts_again(network: nn.Module) -> None:
    trained_step(network, frozen=True)
    before, after = trained_step(network, frozen=False)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "encoder.features.0.0.weight" in changed
    assert "encoder.features.0.1.running_mean" in changed


def test_evaluation_of_a_frozen_network_reaches_every_layer(network: nn.Module) -> None:
    train_mode(network, encoder_frozen=True)
    network.eval()
    assert not any(module.training for module in network.modules())


def test_moving_average_by_hand() -> None:
    """Decays 1/10, 2/11, then the configured 0.2 where the growing one is above it."""
    network = nn.BatchNorm1d(1)
    average = MovingAverage(network, 0.2)
    expected = 1.0
    for step, (value, decay) in enumerate([(3.0, 0.1), (5.0, 2 / 11), (7.0, 0.2), (2.0, 0.2)]):
        network.weight.data.fill_(value)
        network.running_mean.fill_(10 * value)  # type: ignore[union-attr]
        network.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        average.update(step)
        expected = decay * expected + (1 - decay) * value
        assert float(average.network.weight) == pytest.approx(expected)  # type: ignore[arg-type]
    state = average.network.state_dict()
    assert int(state["num_batches_tracked"]) == 4
    assert float(state["running_mean"]) == pytest.approx(10 * (expected - 0.1 * 2 / 11 * 0.04))


def test_moving_average_is_not_trained_itself(network: nn.Module) -> None:
    average = MovingAverage(network, 0.9)
    assert not any(p.requires_grad for p in average.network.parameters())
    assert all(p.requires_grad for p in network.parameters())
