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

NUMERIC_KEYS = ("optim.lr", "optim.encoder_lr", "optim.decoder_lr", "optim.encoder_lr_scale")
CATEGORICAL_KEYS = (
    "optim.schedule",
    "optim.name",
    "model.arch",
    "model.encoder_name",
    "model.encoder_weights",
)
START_FACTORS = (
    1 / math.sqrt(2),
    1.0,
    math.sqrt(2),
)  # points learnt from, as multiples of this one

# Chosen on the curves of benchmarks/RESULTS.md, section "Replay".
PRIOR_EXPONENT, PRIOR_SPREAD = (
    0.10,
    0.08,
)  # of a curve about which nothing is known: mean and residual
PRIOR_WEIGHT = 4.0  # curves that this is worth, against those that were seen
N_SHAPE, RIDGE_NUMBER, RIDGE_NAME = 3, 4.0, 8.0  # curves it takes to half believe an effect


@dataclass(frozen=True)
class PartialCurve:
    """What a trial has done so far.

    Attributes:
        epochs: that are done, from 1, rising; shape (n,), n >= 1.
        values: positive losses at these epochs, shape (n,).
        planned_epochs: its whole length in epochs.
        params: its searched parameters by full key.
    """

    epochs: tuple[int, ...]
    values: tuple[float, ...]
    planned_epochs: int
    params: Mapping[str, Any]

    def up_to(self, epoch: int) -> "PartialCurve":
        """The curve as it was after that epoch; its first point at least."""
        n = max(1, sum(e <= epoch for e in self.epochs))
        return PartialCurve(self.epochs[:n], self.values[:n], self.planned_epochs, self.params)

    @property
    def best(self) -> float:
        return min(self.values)

    def shape(self) -> tuple[float, float, float]:
        """Log of the best loss, exponent of its second half, log of the last over the best."""
        last, best = self.epochs[-1], self.best
        half = self.up_to(max(1, last // 2))
        span = math.log(last / half.epochs[-1])
        recent = math.log(half.best / best) / span if span > 0 else 0.0
        return math.log(best), recent, min(math.log(self.values[-1] / best), 0.5)


def probability_below(target: float, curve: PartialCurve, others: Sequence[PartialCurve]) -> float:
    """The probability that a curve's best loss will be below `target` at its end, in [0, 1].

    Args:
        target: a positive loss.
        curve: one that has not ended.
        others: curves to learn from; those that did not come further tell nothing.
    """
    shape, log_remaining = curve.shape(), math.log(curve.planned_epochs / curve.epochs[-1])
    if curve.best < target:
        return 1.0
    if log_remaining <= 0:
        return 0.0
    samples = _curve_samples(curve, others)
    mean, deviation = _predict_exponent(shape, curve.params, samples)
    needed = (shape[0] - math.log(target)) / log_remaining
    return 0.5 * math.erfc((needed - mean) / deviation / math.sqrt(2))


@dataclass(frozen=True)
class _CurveSample:
    """From one point of another curve to where it came: the exponent, and its weight in curves."""

    shape: tuple[float, float, float]
    params: Mapping[str, Any]
    exponent: float
    weight: float


def _curve_samples(curve: PartialCurve, others: Sequence[PartialCurve]) -> list[_CurveSample]:
    fraction = curve.epochs[-1] / curve.planned_epochs
    samples = []
    for other_curve in others:
        end, best = other_curve.epochs[-1], other_curve.best
        start_epochs = {
            round(fraction * other_curve.planned_epochs * factor) for factor in START_FACTORS
        }
        starts = sorted(epoch for epoch in start_epochs if 1 <= epoch < end)
        for start in starts:
            past, span = other_curve.up_to(start), math.log(end / start)
            # A short way says little about the whole: its exponent varies as one over its length.
            weight = (span / math.log(other_curve.planned_epochs / start)) ** 2
            exponent = math.log(past.best / best) / span
            samples.append(
                _CurveSample(past.shape(), other_curve.params, exponent, weight / len(starts))
            )
    return samples


def _predict_exponent(
    shape: tuple[float, float, float], params: Mapping[str, Any], samples: Sequence[_CurveSample]
) -> tuple[float, float]:
    """Mean and standard deviation of the exponent (ridge with a normal-inverse-gamma prior)."""
    rows = _design_matrix([*(sample.params for sample in samples), params])
    x = np.column_stack([[*(sample.shape for sample in samples), shape], rows])
    y = np.array([sample.exponent for sample in samples])
    weights = np.array([sample.weight for sample in samples])
    n = float(weights.sum())
    centre = weights @ x[:-1] / n if n > 0 else x[-1]
    scale = np.ones(x.shape[1])
    spread = weights @ (x[:-1] - centre)[:, :N_SHAPE] ** 2
    scale[:N_SHAPE] = np.sqrt((spread + 0.05) / (n + 1))
    z = np.column_stack([np.ones(len(x)), (x - centre) / scale])
    z[:, 1 : 1 + N_SHAPE] = z[:, 1 : 1 + N_SHAPE].clip(-2.5, 2.5)  # no line holds far outside
    observed, query = z[:-1], z[-1]
    n_numbers = N_SHAPE + len(NUMERIC_KEYS)
    ridge = [1.0, *[RIDGE_NUMBER] * n_numbers, *[RIDGE_NAME] * (x.shape[1] - n_numbers)]
    precision = observed.T @ (weights[:, None] * observed) + np.diag(ridge)
    right_sides = np.column_stack([observed.T @ (weights * (y - PRIOR_EXPONENT)), query])
    effects, leverage = np.linalg.solve(precision, right_sides).T
    residual = y - PRIOR_EXPONENT - observed @ effects
    n_effective = PRIOR_WEIGHT + n
    variance = (
        (PRIOR_WEIGHT * PRIOR_SPREAD**2 + weights @ residual**2)
        / n_effective
        * (1 + query @ leverage)
    )
    t_factor = n_effective / (n_effective - 2)  # of Student's t over the normal distribution
    return max(PRIOR_EXPONENT + float(query @ effects), 0.0), math.sqrt(variance * t_factor)


def _design_matrix(params: Sequence[Mapping[str, Any]]) -> Floats:
    """Settings as columns: decades of NUMBERS around their median, one column per name seen."""
    columns = [_centred_log10([settings.get(key) for settings in params]) for key in NUMERIC_KEYS]
    for key in CATEGORICAL_KEYS:
        values = [repr(settings.get(key)) for settings in params]
        for name in sorted(set(values)):
            columns.append(np.array([value == name for value in values], dtype=np.float64))
    return np.column_stack(columns)


def _centred_log10(values: Sequence[Any]) -> Floats:
    logs = [math.log10(v) if isinstance(v, int | float) and v > 0 else math.nan for v in values]
    finite = [log for log in logs if not math.isnan(log)]
    middle = float(np.median(finite)) if finite else 0.0
    return np.array([0.0 if math.isnan(log) else log - middle for log in logs])
