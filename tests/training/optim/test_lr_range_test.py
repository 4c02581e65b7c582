import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from harness.config.study import OptimConfig
from harness.training.optim.lr_range_test import (
    RangeTestCurve,
    RateSuggestion,
    format_space_lines,
    gaussian_smooth,
    record_range_test,
    suggest_rates,
    sweep_learning_rates,
)
from tests.training.conftest import Pictures
from tests.training.loop.test_trainer import trainer, weights

RATES = np.geomspace(1e-5, 10, 120)


def descent(curvature: float) -> Callable[[float], float]:
    """Gradient descent on curvature / 2 x²; it diverges at rates above 2 / curvature."""
    x = 1.0

    def step(rate: float) -> float:
        nonlocal x
        loss = curvature / 2 * x * x
        x -= rate * curvature * x
        return loss

    return step


def test_a_negative_loss_does_not_end_the_test_by_its_fall() -> None:
    """The same curve moved below 0 is followed until it has risen as far as it fell."""
    step = descent(2.0)
    curve = record_range_test(lambda rate: step(rate) - 5.0, RATES)
    plain = record_range_test(descent(2.0), RATES)
    assert curve.diverged and min(curve.losses) == pytest.approx(-5.0, abs=0.01)
    assert abs(len(curve.rates) - len(plain.rates)) <= 10


@pytest.mark.parametrize("curvature", [10.0, 30.0, 100.0])
def test_suggestions_lie_below_the_rate_at_which_descent_diverges(curvature: float) -> None:
    curve = record_range_test(descent(curvature), RATES)
    found = suggest_rates(curve)
    assert curve.diverged and found is not None
    limit = 2 / curvature
    assert limit < curve.rates[-1] < 10 * limit, "it stops soon after"
    assert found.low < found.steepest < limit and found.tenth < limit / 5
    assert found.steepest > limit / 1000


def test_steepest_fall_and_lowest_loss_of_a_known_curve() -> None:
    """1 - a logistic step around 1e-3 in log10, then a wall at 1: both by construction."""
    decades = np.log10(RATES)
    losses = iter(1 - 0.8 / (1 + np.exp(-6 * (decades + 3))) + np.where(RATES > 1, 50.0, 0.0))
    found = suggest_rates(record_range_test(lambda _: float(next(losses)), RATES))
    assert found is not None
    assert found.steepest == pytest.approx(1e-3, rel=0.15)
    assert 0.1 < found.lowest < 1


def test_loss_that_is_not_finite_ends_the_test_and_is_no_point() -> None:
    losses = iter([*np.linspace(1, 0.5, 30), math.nan])
    curve = record_range_test(lambda _: float(next(losses)), RATES)
    assert curve.diverged and len(curve.rates) == 30 and np.isfinite(curve.losses).all()


@pytest.mark.parametrize("losses", [[1.0] * 120, list(np.linspace(1, 2, 120)), [math.nan]])
def test_nothing_is_suggested_where_the_loss_never_falls(losses: list[float]) -> None:
    left = iter(losses)
    assert suggest_rates(record_range_test(lambda _: float(next(left)), RATES)) is None


def test_smoothing_keeps_means_and_does_not_lag() -> None:
    assert gaussian_smooth(np.full(20, 3.0)) == pytest.approx(np.full(20, 3.0))
    peak = np.zeros(41)
    peak[20] = 1.0
    smoothed = gaussian_smooth(peak, width=3.0)
    assert smoothed.argmax() == 20 and smoothed[17] == pytest.approx(smoothed[23])
    assert smoothed[23] / smoothed[20] == pytest.approx(math.exp(-0.5)), "one width away"


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({}, ["optim.lr: {low: 1.0e-4, high: 2.0e-2, log: true}"]),
        (
            {"lr": 0.5, "encoder_lr_scale": 0.1},
            ["optim.lr: {low: 1.0e-4, high: 2.0e-2, log: true}"],
        ),
        (
            {"lr": 0.01, "encoder_lr": 0.001},
            [
                "optim.lr: {low: 1.0e-4, high: 2.0e-2, log: true}",
                "optim.encoder_lr: {low: 1.0e-5, high: 2.0e-3, log: true}",
            ],
        ),
        (
            {"decoder_lr": 0.01, "encoder_lr": 0.001},
            [
                "optim.encoder_lr: {low: 1.0e-5, high: 2.0e-3, log: true}",
                "optim.decoder_lr: {low: 1.0e-4, high: 2.0e-2, log: true}",
            ],
        ),
        (
            {"lr": 0.001, "decoder_lr": 0.01},
            [
                "optim.lr: {low: 1.0e-5, high: 2.0e-3, log: true}",
                "optim.decoder_lr: {low: 1.0e-4, high: 2.0e-2, log: true}",
            ],
        ),
    ],
)  # fmt: skip
def test_lines_name_the_rates_that_act_and_keep_their_ratio(
    settings: dict[str, float], lines: list[str]
) -> None:
    """The least of 1e-3 and 2e-2 / 10, over 10, up to the lowest: 1e-4 to 2e-2."""
    config = OptimConfig.model_validate(settings)
    assert format_space_lines(config, RateSuggestion(steepest=1e-3, lowest=2e-2)) == lines


def swept(pictures: Pictures, *, seed: int = 1, **changes: Any) -> tuple[RangeTestCurve, Any]:
    training = trainer(pictures, seed=seed, train__epochs=1, **changes)
    config = training._config.optim
    return sweep_learning_rates(training, config, low=1e-5, high=10.0, n_steps=40), training


def test_network_is_trained_at_rising_rates_with_the_ratio_kept(pictures: Pictures) -> None:
    curve, training = swept(
        pictures, optim__encoder_lr_scale=0.1, optim__name="sgd", optim__grad_clip=None
    )
    assert curve.rates[0] == pytest.approx(1e-5)
    steps = np.diff(np.log(curve.rates))
    assert steps == pytest.approx(np.full(len(steps), math.log(1e6) / 39))
    last = training.state()["optimizer"]["param_groups"]
    encoder, rest = ({g["lr"] for g in last if g["part"] == p} for p in ("encoder", "rest"))
    assert [*rest] == pytest.approx([curve.rates[-1]])
    assert [*encoder] == pytest.approx([curve.rates[-1] / 10])


def test_same_seed_gives_the_same_curve_and_another_another(pictures: Pictures) -> None:
    (first, one), (second, two), (other, _) = (swept(pictures, seed=s) for s in (1, 1, 2))
    assert first == second and first.losses != other.losses
    assert torch.equal(weights(one.network), weights(two.network))
