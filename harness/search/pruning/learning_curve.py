"""The pruner `curve`: stops a trial that will hardly end among the best, by its forecast."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from harness.config.study import BudgetConfig, PrunerConfig
from harness.search.pruning.curve_model import PartialCurve, probability_below

MAX_CURVES = 120  # the newest are learnt from; older ones cost time and tell of other places
FLOOR_SHARE = 1e-4  # a loss of 0 counts as this share of the middle one: it has no logarithm


@dataclass(frozen=True)
class PruningThresholds:
    """How much is risked to save epochs.

    Attributes:
        chance: of ending among the best, below which a trial is pruned.
        best_share: the best as a share of all trials; of the first few trials the best one.
        min_share: share of its epochs before which no trial is pruned.
        least: complete trials, and curves that have come further, without which it waits.
    """

    chance: float
    best_share: float
    min_share: float
    least: int


# Chosen on the even-numbered curves of benchmarks/RESULTS.md, section "Replay". Where trials are
# scarce a lost one is dear, and a good one that is cut at its first epoch ranks last with TPE,
# which then leaves its neighbourhood; where hours are scarce so is each epoch.
SCARCE_TRIALS = PruningThresholds(chance=0.3, best_share=0.1, min_share=0.1, least=3)
SCARCE_HOURS = PruningThresholds(chance=0.5, best_share=0.05, min_share=0.0, least=1)


class CurvePruner(BasePruner):
    """Prunes a trial whose chance of ending among the best is small.

    It compares with complete trials of either kind, own and imported. Every `control`-th trial is
    never pruned. It waits until some trials are complete and as many have come further than
    this one. The same study gives the same answer, in this process and in the next.

    Args:
        config: its settings.
        epochs: planned for the trial, and for all whose `train.epochs` is not searched.
        budget: what is scarce: hours if they are limited, else trials.
    """

    def __init__(
        self, config: PrunerConfig, epochs: int, budget: BudgetConfig | None = None
    ) -> None:
        hours = budget is not None and budget.gpu_hours is not None
        default = SCARCE_HOURS if hours else SCARCE_TRIALS
        self._thresholds = replace(
            default,
            chance=default.chance if config.chance is None else config.chance,
            least=default.least if config.n_min_curves is None else config.n_min_curves,
        )
        self._control_interval, self._epochs = config.control, epochs

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if self.is_control(trial.number):
            return False
        trials = study.get_trials(deepcopy=False)
        others = [other_trial for other_trial in trials if other_trial.number != trial.number]
        return self.should_stop(trial, others, maximised=study.direction == StudyDirection.MAXIMIZE)

    def should_stop(
        self,
        trial: FrozenTrial,
        others: Sequence[FrozenTrial],
        *,
        maximised: bool,
        observed_values: Mapping[int, float] | None = None,
    ) -> bool:
        """The verdict on a trial, control arm or not, beside the others.

        Args:
            observed_values: what to judge it by; None: all that it has reported.
        """
        planned = self._planned_epochs(trial)
        complete = [
            value for other_trial in others if (value := finite_value(other_trial)) is not None
        ]
        points = _finite(trial.intermediate_values if observed_values is None else observed_values)
        if (
            len(complete) < self._thresholds.least
            or not points
            or self._too_early_or_late(points, planned)
        ):
            return False
        loss_scale = _LossScale([*complete, *points.values()], maximised=maximised)
        curve = _make_curve(points, planned, trial.params, loss_scale)
        longer_curves = self._longer_curves(curve, others, loss_scale)
        if len(longer_curves) < self._thresholds.least:
            return False
        target = loss_scale.to_loss(
            self.best_threshold(complete, len(others) + 1, maximised=maximised)
        )
        return probability_below(target, curve, longer_curves) < self._thresholds.chance

    def best_threshold(self, complete: Sequence[float], n_trials: int, *, maximised: bool) -> float:
        """The value below (maximised: above) which a trial is among the best.

        Args:
            complete: values of complete trials, at least one.
            n_trials: all there are, pruned ones too: they count as worse.
        """
        rank = min(math.ceil(self._thresholds.best_share * n_trials), len(complete))
        return sorted(complete, reverse=maximised)[rank - 1]

    def _too_early_or_late(self, points: Mapping[int, float], planned: int) -> bool:
        """Whether it is too early for a verdict, or too late to save anything."""
        n_epochs = max(points) + 1
        return n_epochs < self._thresholds.min_share * planned or n_epochs >= planned

    def is_control(self, number: int) -> bool:
        """Whether that trial is never pruned."""
        return self._control_interval > 0 and number % self._control_interval == 0

    def _longer_curves(
        self, curve: PartialCurve, others: Sequence[FrozenTrial], loss_scale: "_LossScale"
    ) -> list[PartialCurve]:
        """The newest curves that have come further than this one, as shares of their length."""
        fraction = curve.epochs[-1] / curve.planned_epochs
        curves: list[PartialCurve] = []
        for trial in reversed(others):
            points = _finite(trial.intermediate_values)
            planned = self._planned_epochs(trial)
            if 0 not in points or (max(points) + 1) / planned <= fraction:
                continue
            if trial.state == TrialState.COMPLETE and max(points) + 1 < planned:
                # It stopped by itself, out of patience: what it has is what it would have got.
                points |= {planned - 1: points[max(points)]}
            curves.append(_make_curve(points, planned, trial.params, loss_scale))
            if len(curves) == MAX_CURVES:
                break
        return curves

    def _planned_epochs(self, trial: FrozenTrial) -> int:
        return int(trial.params.get("train.epochs", self._epochs))


class _LossScale:
    """Positive losses of an objective: lower is better, and ratios mean something.

    Args:
        values: of the objective, by which the scale is set.
        maximised: of scores, whose distance from 1 counts if none is above.
    """

    def __init__(self, values: Sequence[float], *, maximised: bool) -> None:
        self._sign = -1.0 if maximised else 1.0
        raw = [self._sign * value for value in values]
        self._shift = 1.0 if maximised and max(values) <= 1 else 0.0
        if min(raw) + self._shift < 0:
            self._shift = 0.1 * (max(raw) - min(raw)) - min(raw)
        middle = sorted(raw)[len(raw) // 2] + self._shift
        self._floor = FLOOR_SHARE * (middle or 1.0)

    def to_loss(self, value: float) -> float:
        return max(self._sign * value + self._shift, self._floor)


def _make_curve(
    points: Mapping[int, float], planned: int, params: Mapping[str, Any], loss_scale: _LossScale
) -> PartialCurve:
    steps = sorted(points)
    epochs = tuple(step + 1 for step in steps)
    return PartialCurve(
        epochs, tuple(loss_scale.to_loss(points[s]) for s in steps), planned, params
    )


def _finite(values: Mapping[int, float]) -> dict[int, float]:
    return {step: value for step, value in values.items() if math.isfinite(value)}


def finite_value(trial: FrozenTrial) -> float | None:
    """The value of a complete trial, if it is a number."""
    if trial.state != TrialState.COMPLETE or trial.value is None:
        return None
    return trial.value if math.isfinite(trial.value) else None
