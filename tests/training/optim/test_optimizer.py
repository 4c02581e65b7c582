import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from harness.config.study import OptimConfig
from harness.core.errors import ConfigError
from harness.models.build import build_network, split_parameters
from harness.training.loop.errors import TooLargeError
from harness.training.optim.optimizer import (
    MovingAverage,
    build_optimizer,
    current_rates,
    load_optimizer_state,
    optimizer_step,
    record_frozen_weights,
    set_rates,
    set_train_mode,
)
from harness.training.optim.schedule import LearningRateSchedule, build_schedule
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
    for name, rate, part in zip(
        ("encoder", "rest"), expected, split_parameters(network), strict=True
    ):
        groups = [group for group in optimizer.param_groups if group["part"] == name]
        assert [group["lr"] for group in groups] == pytest.approx([rate] * len(groups))
        found = [id(p) for group in groups for p in group["params"]]
        assert sorted(found) == sorted(id(p) for p in part)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_each_name_is_torchs_optimiser(network: nn.Module, name: str, kind: type) -> None:
    config = OptimConfig.model_validate({"name": name, "weight_decay": 0.03, "momentum": 0.7})
    optimizer = build_optimizer(network, config)
    assert type(optimizer) is kind
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.03, 0.0}
    set_rates(optimizer, LearningRateSchedule("constant", 10, 0), 0)
    for group in optimizer.param_groups:
        assert group["momentum"] == 0.7 if name == "sgd" else group["betas"] == (0.9, 0.999)


def test_rates_of_both_groups_follow_the_schedule_from_their_own_peak(network: nn.Module) -> None:
    optimizer = build_optimizer(network, OptimConfig(lr=0.1, encoder_lr=0.02))
    for step in (7, 5, 5):
        set_rates(optimizer, LearningRateSchedule("cosine", 10, 0), step)
    assert current_rates(optimizer) == pytest.approx({"encoder": 0.01, "rest": 0.05})


def test_weight_decay_shrinks_kernels_and_leaves_biases_and_norms() -> None:
    """Without a gradient a step of SGD takes lr * weight_decay of a weight: 0.1 * 0.5 = 5 %."""
    network = Halves()
    optimizer = build_optimizer(network, OptimConfig(name="sgd", lr=0.1, weight_decay=0.5))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, p in network.named_parameters():
        left = 0.95 if p.ndim > 1 else 1.0
        torch.testing.assert_close(p.detach(), left * before[name])
    assert {p.ndim for p in network.parameters()} == {1, 2}


class Halves(nn.Module):
    """An encoder with a norm, and a layer behind it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh())
        self.head = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.encoder(x))
        return y


@pytest.mark.parametrize("schedule", ["constant", "cosine", "poly", "onecycle"])
@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_training_equals_one_with_torchs_own_scheduler(name: str, schedule: str) -> None:
    """Rates of encoder and head apart, momentum cycled: the same weights after 20 steps."""
    ours, theirs = Halves(), Halves()
    config = OptimConfig.model_validate(
        {"name": name, "schedule": schedule, "lr": 0.05, "encoder_lr_scale": 0.1}
        | {"weight_decay": 0.0, "momentum": 0.8}
    )
    optimizer, steps = build_optimizer(ours, config), 20
    reference, scheduler = torchs_own(theirs, config, steps)
    mine = build_schedule(config, epochs=4, steps_per_epoch=5)
    for step in range(steps):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        for network in (ours, theirs):
            network.zero_grad()
            (network(x) - x.sum(1, keepdim=True)).square().mean().backward()
        set_rates(optimizer, mine, step)
        optimizer.step()
        reference.step()
        scheduler.step()
    for mine_p, their_p in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine_p, their_p, rtol=1e-5, atol=1e-6)


def torchs_own(network: Halves, config: OptimConfig, steps: int) -> tuple[Any, Any]:
    parts = [network.encoder.parameters(), network.head.parameters()]
    rates = [0.005, 0.05]
    groups = [{"params": list(p), "lr": r} for p, r in zip(parts, rates, strict=True)]
    beta1 = 0.95 if config.schedule == "onecycle" else 0.9
    optimizer: torch.optim.Optimizer
    if config.name == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=0.8, weight_decay=0.0)
    else:
        kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
        optimizer = kind(groups, betas=(beta1, 0.999), weight_decay=0.0)
    high = 0.8 if config.name == "sgd" else 0.95
    makers: dict[str, Any] = {
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, factor=1.0),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps),
        "poly": lambda: lr_scheduler.PolynomialLR(optimizer, total_iters=steps, power=0.9),
        "onecycle": lambda: lr_scheduler.OneCycleLR(
            optimizer, max_lr=rates, total_steps=steps, max_momentum=high, base_momentum=high - 0.1
        ),
    }
    return optimizer, makers[config.schedule]()


@pytest.mark.parametrize(("name", "low", "high"), [("sgd", 0.6, 0.7), ("adamw", 0.85, 0.95)])
def test_onecycle_moves_the_momentum_of_either_kind(
    network: nn.Module, name: str, low: float, high: float
) -> None:
    config = OptimConfig.model_validate({"name": name, "momentum": 0.7, "schedule": "onecycle"})
    optimizer, schedule = build_optimizer(network, config), LearningRateSchedule("onecycle", 10, 0)
    seen = []
    for step in range(10):
        set_rates(optimizer, schedule, step)
        group = optimizer.param_groups[0]
        seen.append(group["momentum"] if name == "sgd" else group["betas"][0])
    assert (seen[0], min(seen), seen[-1]) == pytest.approx((high, low, high))


def trained_step(network: Any, *, frozen: bool) -> tuple[dict[str, torch.Tensor], ...]:
    """Encoder and decoder states before and after one step of training."""
    optimizer = build_optimizer(network, OptimConfig(weight_decay=0.1))
    set_train_mode(network, encoder_frozen=frozen)
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
    set_train_mode(network, encoder_frozen=True)
    network.eval()
    assert not any(module.training for module in network.modules())


class PartlyFrozen(nn.Module):
    """Freezes a layer of its encoder with its BatchNorm, and one elsewhere; `drop` only rests."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.encoder = nn.Sequential(stem, nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.extra, self.head = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 1, 1)
        self.backbone = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Dropout(0.5)).eval()
        stem.eval().requires_grad_(False)
        self.extra.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.backbone(self.extra(self.encoder(images))))
        return answer


OWN = {"encoder.0.0.weight", "encoder.0.0.bias", "encoder.0.1.weight", "encoder.0.1.bias"}
OWN |= {"extra.weight", "extra.bias"}


def frozen_in(network: nn.Module) -> set[str]:
    return {name for name, p in network.named_parameters() if not p.requires_grad}


def test_what_a_network_froze_stays_frozen_before_and_after_the_frozen_epochs() -> None:
    network = PartlyFrozen()
    record_frozen_weights(network)
    network.eval()  # as whatever measures it before the training leaves it
    whole = {name for name, _ in network.encoder.named_parameters(prefix="encoder")}
    for encoder_frozen in (False, True, True, False, False):
        set_train_mode(network, encoder_frozen=encoder_frozen)
        assert frozen_in(network) == (OWN | whole if encoder_frozen else OWN)
        resting = {name for name, m in network.named_modules() if not m.training}
        stem = {"encoder.0", "encoder.0.0", "encoder.0.1"}
        assert resting == (stem | {"encoder", "encoder.1", "encoder.2"} if encoder_frozen else stem)


def test_a_step_leaves_alone_what_a_network_froze() -> None:
    """With weight decay; of the frozen BatchNorm also the statistics."""
    network = PartlyFrozen()
    before, after = trained_step(network, frozen=False)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not changed & OWN and "encoder.0.1.running_mean" not in changed
    assert {"encoder.1.weight", "encoder.2.running_mean", "head.weight"} <= changed


def test_weights_that_a_network_thaws_itself_are_left_to_it() -> None:
    network = PartlyFrozen()
    set_train_mode(network, encoder_frozen=True)
    network.extra.requires_grad_(True)
    network.head.requires_grad_(False)
    set_train_mode(network, encoder_frozen=False)
    assert frozen_in(network) == OWN - {"extra.weight", "extra.bias"} | {"head.weight", "head.bias"}


def test_part_in_which_nothing_is_trained_has_rate_0() -> None:
    network = PartlyFrozen()
    optimizer = build_optimizer(network, OptimConfig(lr=0.5))
    assert current_rates(optimizer) == {"encoder": 0.5, "rest": 0.5}
    set_train_mode(network, encoder_frozen=True)
    assert current_rates(optimizer) == {"encoder": 0.0, "rest": 0.5}


def test_network_that_freezes_everything_is_refused() -> None:
    network = nn.Linear(2, 1).requires_grad_(False)
    with pytest.raises(
        ConfigError, match=r"model.arch: the network has no weight to train; leave some"
    ):
        set_train_mode(network, encoder_frozen=False)
    network.encoder = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match=r"or set train.freeze_encoder_epochs to 0"):
        set_train_mode(network, encoder_frozen=True)


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


def test_moving_average_has_the_digits_of_one_call_per_weight(network: nn.Module) -> None:
    average = MovingAverage(network, 0.9)
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    for step in range(3):
        for parameter in network.parameters():
            parameter.data.mul_(1.1).add_(0.01)
        average.update(step)
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                expected[name].lerp_(value, 1 - min(0.9, (1 + step) / (10 + step)))
    for name, value in average.network.state_dict().items():
        assert torch.equal(value, expected[name]), name


class Counting(nn.Module):
    """Replaces its buffer in each step instead of changing it in place."""

    count: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self) -> None:
        self.count = self.count + 10


def test_moving_average_follows_a_buffer_that_is_replaced() -> None:
    """Decays 1/10 and 2/11: 9, then 2/11 of that and 9/11 of 20."""
    network = nn.Sequential(Counting())
    average = MovingAverage(network, 0.9)
    for step in range(2):
        network[0]()
        average.update(step)
    count = average.network.get_buffer("0.count")
    assert float(count) == pytest.approx(9 * 2 / 11 + 20 * 9 / 11)


def test_moving_average_equals_torchs_own_once_its_decay_has_grown() -> None:
    """(1 + n) / (10 + n) is above 0.5 from step 8 on."""
    network = Halves()
    average, start = MovingAverage(network, 0.5), 8
    decay = get_ema_multi_avg_fn(0.5)  # type: ignore[no-untyped-call]
    reference = AveragedModel(network, multi_avg_fn=decay)
    reference.update_parameters(network)  # the first call only copies
    for step in range(start, start + 5):
        for p in network.parameters():
            p.data.mul_(1.3).add_(0.1)
        average.update(step)
        reference.update_parameters(network)
    for mine, theirs in zip(
        average.network.parameters(), reference.module.parameters(), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_network_without_an_encoder_trains_as_a_whole() -> None:
    network = nn.Linear(2, 1)
    set_train_mode(network, encoder_frozen=True)
    assert network.training and all(p.requires_grad for p in network.parameters())


def test_moving_average_is_not_trained_itself(network: nn.Module) -> None:
    average = MovingAverage(network, 0.9)
    assert not any(p.requires_grad for p in average.network.parameters())
    assert all(p.requires_grad for p in network.parameters())


class TwoParts(nn.Module):
    """A network of two parts, with gradients from nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = nn.Linear(3, 2), nn.Linear(2, 1)

    def backward(self) -> None:
        random = torch.Generator().manual_seed(3)
        for p in self.parameters():
            p.grad = torch.randn(p.shape, generator=random)


def test_no_room_for_what_the_optimiser_keeps_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    net = TwoParts()
    optimizer = build_optimizer(net, OptimConfig())
    net.backward()
    monkeypatch.setattr(torch, "zeros_like", full)
    with pytest.raises(TooLargeError, match=r"not the state of AdamW; .*\(CUDA out of"):
        optimizer_step(optimizer, optimizer.step)


def test_state_of_another_device_is_loaded_into_the_implementation_of_this_one() -> None:
    """Metal has no fused steps, and a checkpoint says which were used."""
    plain, net = TwoParts(), TwoParts()
    net.load_state_dict(plain.state_dict())
    optimizers = [build_optimizer(n, OptimConfig()) for n in (plain, net)]
    plain.backward()
    optimizers[0].step()
    state = copy.deepcopy(optimizers[0].state_dict())
    net.load_state_dict(plain.state_dict())
    for group in state["param_groups"]:
        assert group["fused"] is True
        group["fused"] = False
    load_optimizer_state(optimizers[1], state)
    assert all(group["fused"] is True for group in optimizers[1].param_groups)
    for n, optimizer in zip((plain, net), optimizers, strict=True):
        n.backward()
        optimizer.step()
    assert all(map(torch.equal, plain.parameters(), net.parameters()))


def test_moving_average_takes_a_shared_weight_in_once() -> None:
    """After step 0 the decay is 0.1: from 0 towards 1 that is 0.9, and 0.99 if taken in twice."""
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    network[1].weight = network[0].weight
    nn.init.zeros_(network[0].weight)
    average = MovingAverage(network, decay=0.999)
    nn.init.ones_(network[0].weight)
    average.update(0)
    assert average.network[1].weight.item() == pytest.approx(0.9)
