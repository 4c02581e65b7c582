import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LRScheduler,
    OneCycleLR,
    PolynomialLR,
)

from harness.config.study import OptimConfig
from harness.training.optim.schedule import build_schedule

EPOCHS, STEPS = 5, 8
N = EPOCHS * STEPS


def factors(**settings: object) -> list[float]:
    config = OptimConfig.model_validate(settings)
    schedule = build_schedule(config, epochs=EPOCHS, steps_per_epoch=STEPS)
    return [schedule.factor(step) for step in range(N)]


def of_torch(make: object, **settings: object) -> tuple[list[float], list[float]]:
    """Rates (from a peak of 1) and momenta of a scheduler of torch's."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    scheduler: LRScheduler = make(optimizer, **settings)  # type: ignore[operator]
    rates, momenta = [], []
    for _ in range(N):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        momenta.append(float(optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        scheduler.step()
    return rates, momenta


def test_constant_stays() -> None:
    assert factors(schedule="constant") == [1.0] * N


def test_cosine_equals_torch() -> None:
    assert factors(schedule="cosine") == pytest.approx(of_torch(CosineAnnealingLR, T_max=N)[0])


def test_poly_equals_torch() -> None:
    expected = of_torch(PolynomialLR, total_iters=N, power=0.9)[0]
    assert factors(schedule="poly") == pytest.approx(expected)


def test_onecycle_equals_torch_in_rate_and_momentum() -> None:
    rates, momenta = of_torch(
        OneCycleLR, max_lr=1.0, total_steps=N, base_momentum=0.8, max_momentum=0.9
    )
    schedule = build_schedule(
        OptimConfig(schedule="onecycle"), epochs=EPOCHS, steps_per_epoch=STEPS
    )
    assert [schedule.factor(step) for step in range(N)] == pytest.approx(rates)
    assert [schedule.momentum(step, 0.9) for step in range(N)] == pytest.approx(momenta)


def test_onecycle_rises_as_long_as_the_warmup_says() -> None:
    rates, _ = of_torch(OneCycleLR, max_lr=1.0, total_steps=N, pct_start=0.2)
    assert factors(schedule="onecycle", warmup_epochs=1.0) == pytest.approx(rates)


def test_momentum_stays_outside_onecycle() -> None:
    schedule = build_schedule(OptimConfig(), epochs=EPOCHS, steps_per_epoch=STEPS)
    assert {schedule.momentum(step, 0.9) for step in range(N)} == {0.9}


@pytest.mark.parametrize("name", ["constant", "cosine", "poly"])
def test_warmup_rises_linearly_from_one_percent_then_the_schedule_begins(name: str) -> None:
    rates = factors(schedule=name, warmup_epochs=1.5)
    assert rates[:12] == pytest.approx([0.01 + 0.99 * step / 12 for step in range(12)])
    assert rates[12] == 1.0
    rest = build_schedule(OptimConfig(schedule=name), epochs=1, steps_per_epoch=N - 12)  # type: ignore[arg-type]
    assert rates[12:] == pytest.approx([rest.factor(step) for step in range(N - 12)])


@pytest.mark.parametrize("name", ["constant", "cosine", "poly", "onecycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.4, 5.0, 100.0])
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 2), (5, 8)])
def test_factor_is_positive_and_at_most_one_whatever_the_lengths(
    name: str, warmup: float, epochs: int, steps: int
) -> None:
    config = OptimConfig.model_validate({"schedule": name, "warmup_epochs": warmup})
    schedule = build_schedule(config, epochs=epochs, steps_per_epoch=steps)
    assert all(0 < schedule.factor(step) <= 1 for step in range(epochs * steps))
    assert all(0.8 <= schedule.momentum(step, 0.9) <= 0.9 + 1e-9 for step in range(epochs * steps))
