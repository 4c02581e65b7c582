"""The learning-rate range test: train while the rate rises, and see where the loss falls.

Source: Smith 2017, "Cyclical learning rates for training neural networks", section 3.3; the rise
is exponential, and the suggestions are the usual two readings of the curve.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from harness.config import OptimConfig
from harness.training.trainer import Trainer

LOW, HIGH, STEPS = 1e-6, 10.0, 100
DIVERGED = 4.0  # times the lowest smoothed loss: the test ends
LEAST_POINTS = 10  # fewer say nothing
_LAG = 0.9  # share of the running mean that decides when to stop
_LEAST_FALL = 0.02  # of the first loss: less is noise
_HIGHEST = 10.0  # that the configuration takes


@dataclass(frozen=True)
class Curve:
    """What the test saw, step by step.

    Attributes:
        rates: of everything but the encoder.
        losses: of the training, all finite.
        smoothed: weighted means of neighbouring losses, equally far to both sides.
        diverged: whether the loss grew out of bounds; else the highest rate was reached.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    diverged: bool


@dataclass(frozen=True)
class Suggestion:
    """What a curve says.

    Attributes:
        steepest: the rate at which the smoothed loss falls fastest over the logarithm of the rate.
        lowest: the rate at which it is lowest; a tenth of that is the other usual choice.
        low: where a search should begin.
        high: where it should end: `lowest`, as higher rates only make it worse.
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
        return min(self.lowest, _HIGHEST)


class _Rising:
    """Rates from `low` to `high` in equal factors, as `harness.training.schedule.Rates`."""

    def __init__(self, rates: NDArray[np.float64], peak: float) -> None:
        self._factors = [float(rate / peak) for rate in rates]

    def factor(self, step: int) -> float:
        return self._factors[min(step, len(self._factors) - 1)]

    def momentum(self, step: int, peak: float) -> float:
        return peak


def sweep(
    trainer: Trainer,
    optim: OptimConfig,
    *,
    low: float = LOW,
    high: float = HIGH,
    n_steps: int = STEPS,
    on_step: Callable[[int], None] = lambda _: None,
) -> Curve:
    """Train with a rising rate; encoder and decoder rates keep their ratio.

    The trainer's weights are spoilt afterwards.

    Args:
        low: first rate of everything but the encoder.
        high: last one, unless the loss diverges before.
        on_step: called with the number of steps done.
    """
    rates = np.geomspace(low, high, n_steps)
    trainer.follow(_Rising(rates, optim.rates[1]))
    losses = _losses(trainer)
    return range_test(lambda _: next(losses), rates, on_step=on_step)


def _losses(trainer: Trainer) -> Iterator[float]:
    """The training loss of every step, epoch after epoch."""
    for epoch in count(1):
        for values in trainer.steps(epoch):
            yield float(values["loss"])


def range_test(
    step: Callable[[float], float],
    rates: NDArray[np.float64],
    *,
    on_step: Callable[[int], None] = lambda _: None,
) -> Curve:
    """Take steps at rising rates until the loss diverges or the rates end.

    Args:
        step: trains one step at a rate and returns the loss before it.
    """
    losses: list[float] = []
    running, lowest, diverged = 0.0, math.inf, False
    for n, rate in enumerate(rates, start=1):
        loss = step(float(rate))
        on_step(n)
        if not math.isfinite(loss):
            diverged = True
            break
        losses.append(loss)
        running = _LAG * running + (1 - _LAG) * loss
        mean = running / (1 - _LAG**n)  # as in Adam: the first values would be pulled to 0
        lowest = min(lowest, mean)
        if n > LEAST_POINTS and mean > DIVERGED * lowest:
            diverged = True
            break
    kept = tuple(float(rate) for rate in rates[: len(losses)])
    return Curve(kept, tuple(losses), tuple(smooth(np.array(losses)).tolist()), diverged)


def smooth(values: NDArray[np.float64], width: float = 3.0) -> NDArray[np.float64]:
    """A Gaussian mean over neighbours, `width` steps wide to each side; it does not lag."""
    where = np.arange(len(values))
    weights = np.exp(-0.5 * ((where[:, None] - where[None, :]) / width) ** 2)
    smoothed: NDArray[np.float64] = (weights @ values) / weights.sum(axis=1)
    return smoothed


def suggest(curve: Curve) -> Suggestion | None:
    """The rates that a curve suggests; None if it is too short or the loss never fell."""
    if len(curve.rates) < LEAST_POINTS:
        return None
    smoothed = np.array(curve.smoothed)
    lowest = int(smoothed.argmin())
    start = float(smoothed[: lowest + 1].max())
    if lowest < 2 or start - smoothed[lowest] < _LEAST_FALL * abs(start):
        return None
    slopes = np.gradient(smoothed, np.log(curve.rates))[: lowest + 1]
    return Suggestion(curve.rates[int(slopes.argmin())], curve.rates[lowest])


def paste_lines(optim: OptimConfig, suggestion: Suggestion) -> list[str]:
    """The lines for `parameters:` of a space, one for each rate that the configuration sets."""
    reference = optim.rates[1]
    encoder = "lr" if optim.encoder_lr is None else "encoder_lr"
    rest = "lr" if optim.decoder_lr is None else "decoder_lr"
    lines = []
    for name in sorted({encoder, rest}, reverse=True):
        ratio = getattr(optim, name) / reference
        low, high = (_short(ratio * rate) for rate in (suggestion.low, suggestion.high))
        lines.append(f"optim.{name}: {{low: {low}, high: {high}, log: true}}")
    return lines


def _short(rate: float) -> str:
    """Two digits, as YAML reads numbers: 2.3e-4."""
    mantissa, _, exponent = f"{min(rate, _HIGHEST):.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"
