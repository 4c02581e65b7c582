"""Learning-rate range test: train while the rate rises, and find where the loss decreases.

Source: Smith 2017, "Cyclical learning rates for training neural networks", section 3.3; the rise
is exponential, and the suggestions are the usual two readings of the curve.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from harness.config.study import OptimConfig
from harness.training.loop.trainer import Trainer

LOWEST_RATE, HIGHEST_RATE, N_STEPS = 1e-6, 10.0, 100
DIVERGENCE_FACTOR = 4.0  # the test ends at this multiple of the lowest smoothed loss
MIN_POINTS = 10  # with fewer there is no suggestion
_LOSS_MOMENTUM = 0.9  # share of the running mean that decides when to stop
_MIN_LOSS_DROP = 0.02  # share of the first loss; a smaller decrease is noise
_MAX_CONFIG_RATE = 10.0  # upper bound of the rates in a configuration


@dataclass(frozen=True)
class RangeTestCurve:
    """Measurements of the test, step by step.

    Attributes:
        rates: learning rates of everything but the encoder.
        losses: training losses, all finite.
        smoothed: weighted means of neighbouring losses, equally far to both sides.
        diverged: the loss exceeded the limit; otherwise the highest rate was reached.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    diverged: bool


@dataclass(frozen=True)
class RateSuggestion:
    """Rates suggested by a curve.

    Attributes:
        steepest: rate at which the smoothed loss decreases fastest over the logarithm of the rate.
        lowest: rate at which it is lowest; a tenth of that is the other usual choice.
        low: lower bound for a search.
        high: upper bound for a search: `lowest`, as the loss rises above it.
    """

    steepest: float
    lowest: float

    @property
    def tenth(self) -> float:
        return self.lowest / 10

    @property
    def low(self) -> float:
        return min(self.steepest, self.tenth) / 10

    @property
    def high(self) -> float:
        return min(self.lowest, _MAX_CONFIG_RATE)


class _ExponentialRamp:
    """`RateSchedule` whose rates rise by equal factors."""

    def __init__(self, rates: NDArray[np.float64], peak: float) -> None:
        self._factors = [float(rate / peak) for rate in rates]

    def factor(self, step: int) -> float:
        return self._factors[min(step, len(self._factors) - 1)]

    def momentum(self, step: int, peak: float) -> float:
        return peak


def sweep_learning_rates(
    trainer: Trainer,
    optim: OptimConfig,
    *,
    low: float = LOWEST_RATE,
    high: float = HIGHEST_RATE,
    n_steps: int = N_STEPS,
    on_step: Callable[[int], None] = lambda _: None,
) -> RangeTestCurve:
    """Train with a rising rate; encoder and decoder rates keep their ratio.

    The trainer's weights are useless afterwards.

    Args:
        low: first rate of everything but the encoder.
        high: last rate, unless the loss diverges before.
        on_step: receives the number of finished steps.
    """
    rates = np.geomspace(low, high, n_steps)
    trainer.override_schedule(_ExponentialRamp(rates, optim.peak_rates[1]))
    losses = _iterate_losses(trainer)
    return record_range_test(lambda _: next(losses), rates, on_step=on_step)


def _iterate_losses(trainer: Trainer) -> Iterator[float]:
    """Iterate over the training losses of all steps, epoch after epoch."""
    for epoch in count(1):
        for values in trainer.train_steps(epoch):
            yield float(values["loss"])


def record_range_test(
    step: Callable[[float], float],
    rates: NDArray[np.float64],
    *,
    on_step: Callable[[int], None] = lambda _: None,
) -> RangeTestCurve:
    """Train steps at rising rates until the loss diverges or the rates end.

    Args:
        step: trains one step at a rate and returns the loss before the update.
    """
    losses: list[float] = []
    running_mean, first, lowest, diverged = 0.0, 0.0, math.inf, False
    for n, rate in enumerate(rates, start=1):
        loss = step(float(rate))
        on_step(n)
        # It is not recorded: one NaN would make every smoothed value NaN.
        if not math.isfinite(loss):
            diverged = True
            break
        losses.append(loss)
        running_mean = _LOSS_MOMENTUM * running_mean + (1 - _LOSS_MOMENTUM) * loss
        # Bias correction as in Adam: the mean starts at 0, which would pull the first values down.
        mean = running_mean / (1 - _LOSS_MOMENTUM**n)
        first = mean if n == 1 else first
        lowest = min(lowest, mean)
        if n > MIN_POINTS and mean > _divergence_limit(first, lowest):
            diverged = True
            break
    used_rates = tuple(float(rate) for rate in rates[: len(losses)])
    return RangeTestCurve(
        used_rates, tuple(losses), tuple(gaussian_smooth(np.array(losses)).tolist()), diverged
    )


def _divergence_limit(first: float, lowest: float) -> float:
    """The smoothed loss above which it has diverged.

    A multiple of a negative loss (`boundary`) is below it and would end every test: there the limit
    lies as far above the first loss as the lowest lies below.
    """
    return DIVERGENCE_FACTOR * lowest if lowest > 0 else first + (first - lowest)


def gaussian_smooth(values: NDArray[np.float64], width: float = 3.0) -> NDArray[np.float64]:
    """Smooth by a Gaussian of standard deviation `width`, in steps.

    Unlike a running mean it is symmetric, so the minimum is not shifted to higher rates.
    """
    positions = np.arange(len(values))
    weights = np.exp(-0.5 * ((positions[:, None] - positions[None, :]) / width) ** 2)
    smoothed: NDArray[np.float64] = (weights @ values) / weights.sum(axis=1)
    return smoothed


def suggest_rates(curve: RangeTestCurve) -> RateSuggestion | None:
    """Suggest rates from a curve; None if it is too short or the loss did not decrease."""
    if len(curve.rates) < MIN_POINTS:
        return None
    smoothed = np.array(curve.smoothed)
    # With ties argmin takes the first, i.e. the smaller and safer rate.
    lowest = int(smoothed.argmin())
    start = float(smoothed[: lowest + 1].max())
    if lowest < 2 or start - smoothed[lowest] < _MIN_LOSS_DROP * abs(start):
        return None
    # Over the logarithm: over the rate itself the slope at small rates would win always.
    slopes = np.gradient(smoothed, np.log(curve.rates))[: lowest + 1]
    return RateSuggestion(curve.rates[int(slopes.argmin())], curve.rates[lowest])


def format_space_lines(optim: OptimConfig, suggestion: RateSuggestion) -> list[str]:
    """Write the lines for `parameters:` of a space, one per rate that the configuration sets."""
    reference = optim.peak_rates[1]
    encoder = "lr" if optim.encoder_lr is None else "encoder_lr"
    rest = "lr" if optim.decoder_lr is None else "decoder_lr"
    lines = []
    for name in sorted({encoder, rest}, reverse=True):
        ratio = getattr(optim, name) / reference
        low, high = (_format_rate(ratio * rate) for rate in (suggestion.low, suggestion.high))
        lines.append(f"optim.{name}: {{low: {low}, high: {high}, log: true}}")
    return lines


def _format_rate(rate: float) -> str:
    """Write two digits in a form that YAML reads as a number: 2.3e-4, not 2.3e-04."""
    mantissa, _, exponent = f"{min(rate, _MAX_CONFIG_RATE):.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"
