"""How far a learning curve will still come: a forecast from all partial curves of a study.

Over the rest of its training a trial's best loss falls as a power of the epoch; the exponent is
a Bayesian linear regression on what the curve did so far and on the settings that shape curves.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUMBERS = ("optim.lr", "optim.encoder_lr", "optim.decoder_lr", "optim.encoder_lr_scale")
NAMES = (
    "optim.schedule",
    "optim.name",
    "model.arch",
    "model.encoder_name",
    "model.encoder_weights",
)
STARTS = (1 / math.sqrt(2), 1.0, math.sqrt(2))  # points learnt from, as multiples of this one

# Chosen on the curves of benchmarks/RESULTS.md, section "Replay".
EXPONENT, SPREAD = 0.10, 0.08  # of a curve about which nothing is known: mean and residual
WORTH = 4.0  # curves that this is worth, against those that were seen
N_SHAPE, RIDGE_NUMBER, RIDGE_NAME = 3, 4.0, 8.0  # curves it takes to half believe an effect


@dataclass(frozen=True)
class Curve:
    """What a trial has done so far.

    Attributes:
        epochs: that are done, from 1, rising; shape (n,), n >= 1.
        values: positive losses at these epochs, shape (n,).
        planned: its whole length in epochs.
        params: its searched parameters by full key.
    """

    epochs: tuple[int, ...]
    values: tuple[float, ...]
    planned: int
    params: Mapping[str, Any]

    def until(self, epoch: int) -> "Curve":
        """The curve as it was after that epoch; its first point at least."""
        n = max(1, sum(e <= epoch for e in self.epochs))
        return Curve(self.epochs[:n], self.values[:n], self.planned, self.params)

    @property
    def best(self) -> float:
        return min(self.values)

    def shape(self) -> tuple[float, float, float]:
        """Log of the best loss, exponent of its second half, log of the last over the best."""
        last, best = self.epochs[-1], self.best
        half = self.until(max(1, last // 2))
        span = math.log(last / half.epochs[-1])
        recent = math.log(half.best / best) / span if span > 0 else 0.0
        return math.log(best), recent, min(math.log(self.values[-1] / best), 0.5)


def chance_below(target: float, curve: Curve, others: Sequence[Curve]) -> float:
    """The probability that a curve's best loss will be below `target` at its end, in [0, 1].

    Args:
        target: a positive loss.
        curve: one that has not ended.
        others: curves to learn from; those that did not come further tell nothing.
    """
    now, rest = curve.shape(), math.log(curve.planned / curve.epochs[-1])
    if curve.best < target:
        return 1.0
    if rest <= 0:
        return 0.0
    lessons = _lessons(curve, others)
    mean, deviation = _exponent(now, curve.params, lessons)
    needed = (now[0] - math.log(target)) / rest
    return 0.5 * math.erfc((needed - mean) / deviation / math.sqrt(2))


@dataclass(frozen=True)
class _Lesson:
    """From one point of another curve to where it came: the exponent, and its weight in curves."""

    shape: tuple[float, float, float]
    params: Mapping[str, Any]
    exponent: float
    weight: float


def _lessons(curve: Curve, others: Sequence[Curve]) -> list[_Lesson]:
    done = curve.epochs[-1] / curve.planned
    lessons = []
    for other in others:
        end, best = other.epochs[-1], other.best
        at = {round(done * other.planned * factor) for factor in STARTS}
        starts = sorted(epoch for epoch in at if 1 <= epoch < end)
        for start in starts:
            past, span = other.until(start), math.log(end / start)
            # A short way says little about the whole: its exponent varies as one over its length.
            told = (span / math.log(other.planned / start)) ** 2
            exponent = math.log(past.best / best) / span
            lessons.append(_Lesson(past.shape(), other.params, exponent, told / len(starts)))
    return lessons


def _exponent(
    shape: tuple[float, float, float], params: Mapping[str, Any], lessons: Sequence[_Lesson]
) -> tuple[float, float]:
    """Mean and standard deviation of the exponent (ridge with a normal-inverse-gamma prior)."""
    rows = _table([*(one.params for one in lessons), params])
    x = np.column_stack([[*(one.shape for one in lessons), shape], rows])
    y = np.array([one.exponent for one in lessons])
    weights = np.array([one.weight for one in lessons])
    n = float(weights.sum())
    centre = weights @ x[:-1] / n if n > 0 else x[-1]
    scale = np.ones(x.shape[1])
    spread = weights @ (x[:-1] - centre)[:, :N_SHAPE] ** 2
    scale[:N_SHAPE] = np.sqrt((spread + 0.05) / (n + 1))
    z = np.column_stack([np.ones(len(x)), (x - centre) / scale])
    z[:, 1 : 1 + N_SHAPE] = z[:, 1 : 1 + N_SHAPE].clip(-2.5, 2.5)  # no line holds far outside
    seen, here = z[:-1], z[-1]
    n_numbers = N_SHAPE + len(NUMBERS)
    ridge = [1.0, *[RIDGE_NUMBER] * n_numbers, *[RIDGE_NAME] * (x.shape[1] - n_numbers)]
    precision = seen.T @ (weights[:, None] * seen) + np.diag(ridge)
    both = np.column_stack([seen.T @ (weights * (y - EXPONENT)), here])
    effects, leverage = np.linalg.solve(precision, both).T
    residual = y - EXPONENT - seen @ effects
    known = WORTH + n
    variance = (WORTH * SPREAD**2 + weights @ residual**2) / known * (1 + here @ leverage)
    wider = known / (known - 2)  # of Student's t over the normal distribution
    return max(EXPONENT + float(here @ effects), 0.0), math.sqrt(variance * wider)


def _table(params: Sequence[Mapping[str, Any]]) -> Floats:
    """Settings as columns: decades of NUMBERS around their median, one column per name seen."""
    columns = [_decades([one.get(key) for one in params]) for key in NUMBERS]
    for key in NAMES:
        values = [repr(one.get(key)) for one in params]
        for name in sorted(set(values)):
            columns.append(np.array([value == name for value in values], dtype=np.float64))
    return np.column_stack(columns)


def _decades(values: Sequence[Any]) -> Floats:
    logs = [math.log10(v) if isinstance(v, int | float) and v > 0 else math.nan for v in values]
    given = [log for log in logs if not math.isnan(log)]
    middle = float(np.median(given)) if given else 0.0
    return np.array([0.0 if math.isnan(log) else log - middle for log in logs])
