"""Extrapolation of a learning curve from all partial curves of a study.

Model: over the remaining epochs a trial's best loss falls as a power of the epoch. The exponent
is predicted by a Bayesian linear regression on the shape of the curve so far and on the settings
that influence it (learning rate, schedule, optimiser, network).
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
# Other curves are sampled at the same share of their training, and at these multiples of it.
START_FACTORS = (1 / math.sqrt(2), 1.0, math.sqrt(2))

# The constants below were chosen on the curves of benchmarks/RESULTS.md, section "Replay".
# Mean and residual standard deviation of the exponent without any data.
PRIOR_EXPONENT, PRIOR_SPREAD = 0.10, 0.08
PRIOR_WEIGHT = 4.0  # weight of this prior, in curves
# Ridge strengths in curves: an effect supported by this many curves is shrunk by half.
N_SHAPE, RIDGE_NUMBER, RIDGE_NAME = 3, 4.0, 8.0


@dataclass(frozen=True)
class PartialCurve:
    """Learning curve of a trial up to now.

    Attributes:
        epochs: finished epochs, from 1, increasing; shape (n,), n >= 1.
        values: positive losses at these epochs, shape (n,).
        planned_epochs: length of the whole training in epochs.
        params: searched parameters of the trial by full key.
    """

    epochs: tuple[int, ...]
    values: tuple[float, ...]
    planned_epochs: int
    params: Mapping[str, Any]

    def up_to(self, epoch: int) -> "PartialCurve":
        """Curve truncated after an epoch; at least its first point remains."""
        n = max(1, sum(e <= epoch for e in self.epochs))
        return PartialCurve(self.epochs[:n], self.values[:n], self.planned_epochs, self.params)

    @property
    def best(self) -> float:
        """Lowest loss so far."""
        return min(self.values)

    def shape(self) -> tuple[float, float, float]:
        """Log of the best loss, exponent of its second half, log of the last over the best."""
        last, best = self.epochs[-1], self.best
        half = self.up_to(max(1, last // 2))
        span = math.log(last / half.epochs[-1])
        # span is 0 at the first epoch, whose second half is the epoch itself.
        recent = math.log(half.best / best) / span if span > 0 else 0.0
        return math.log(best), recent, min(math.log(self.values[-1] / best), 0.5)


def probability_below(target: float, curve: PartialCurve, others: Sequence[PartialCurve]) -> float:
    """Probability that a curve's best loss is below `target` at the end of training, in [0, 1].

    Args:
        target: a positive loss.
        curve: curve of a running trial.
        others: curves to learn from; a curve that is not longer contributes nothing.
    """
    shape, log_remaining = curve.shape(), math.log(curve.planned_epochs / curve.epochs[-1])
    # The best value so far never gets worse, so the target is reached already.
    if curve.best < target:
        return 1.0
    if log_remaining <= 0:
        return 0.0
    samples = _curve_samples(curve, others)
    mean, deviation = _predict_exponent(shape, curve.params, samples)
    # best(end) = best(now) * exp(-exponent * log_remaining), so this exponent just reaches target.
    needed = (shape[0] - math.log(target)) / log_remaining
    return 0.5 * math.erfc((needed - mean) / deviation / math.sqrt(2))


@dataclass(frozen=True)
class _CurveSample:
    """Observed exponent from one point of another curve to its end, with a weight in curves."""

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
            # The exponent over a short span is noisy: its standard deviation grows as 1 / span
            # (in log epochs), so the weight is the square of the covered share.
            weight = (span / math.log(other_curve.planned_epochs / start)) ** 2
            exponent = math.log(past.best / best) / span
            samples.append(
                _CurveSample(past.shape(), other_curve.params, exponent, weight / len(starts))
            )
    return samples


def _predict_exponent(
    shape: tuple[float, float, float], params: Mapping[str, Any], samples: Sequence[_CurveSample]
) -> tuple[float, float]:
    """Mean and standard deviation of the exponent (ridge with a normal-inverse-gamma prior).

    Source: the posterior predictive is Student's t (Murphy 2012, section 7.6); here it is used as
    a normal distribution of the same variance.
    """
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
    z[:, 1 : 1 + N_SHAPE] = z[:, 1 : 1 + N_SHAPE].clip(-2.5, 2.5)  # linear near the data only
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
    t_factor = n_effective / (n_effective - 2)  # variance of Student's t; n_effective >= 4
    # max: a negative exponent would predict that the best loss so far becomes worse.
    return max(PRIOR_EXPONENT + float(query @ effects), 0.0), math.sqrt(variance * t_factor)


def _design_matrix(params: Sequence[Mapping[str, Any]]) -> Floats:
    """Settings as columns: numeric ones in decades around their median, categorical ones one-hot.

    Rows are trials. A missing number becomes 0, the median; a missing name is a category.
    """
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
