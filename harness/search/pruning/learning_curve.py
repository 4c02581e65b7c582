"""Pruner `curve`: stops a trial whose extrapolated curve is unlikely to end among the best."""

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

# Only the newest curves are used: older ones cost time, and lie elsewhere in the search space.
MAX_CURVES = 120
FLOOR_SHARE = 1e-4  # losses are cut off below at this share of the median: 0 has no logarithm


@dataclass(frozen=True)
class PruningThresholds:
    """Trade-off between saved epochs and wrongly stopped trials.

    Attributes:
        chance: a trial is pruned if its probability of ending among the best is lower.
        best_share: share of all trials that counts as the best, at least one trial.
        min_share: share of its epochs that every trial trains before it can be pruned.
        n_min: smallest number of complete trials, and of longer curves, for a decision.
    """

    chance: float
    best_share: float
    min_share: float
    n_min: int


# Chosen on the even-numbered curves of benchmarks/RESULTS.md, section "Replay". If the number of
# trials is limited, a wrongly stopped trial is expensive: TPE ranks a good trial that was pruned
# at its first epoch last, and leaves its neighbourhood. If hours are limited, epochs count more.
SCARCE_TRIALS = PruningThresholds(chance=0.3, best_share=0.1, min_share=0.1, n_min=3)
SCARCE_HOURS = PruningThresholds(chance=0.5, best_share=0.05, min_share=0.0, n_min=1)


class CurvePruner(BasePruner):
    """Prune a trial if its probability of ending among the best is small.

    Own and imported trials are both used for comparison. Every `control`-th trial is never
    pruned. No trial is pruned before enough trials are complete and enough curves are longer than
    its own. The decision depends on the study alone, so a resumed study repeats it.

    Args:
        config: settings of the pruner.
        epochs: planned epochs of the trial, and of all trials whose `train.epochs` is fixed.
        budget: budget of the study; limited GPU hours select SCARCE_HOURS, else SCARCE_TRIALS.
    """

    def __init__(
        self, config: PrunerConfig, epochs: int, budget: BudgetConfig | None = None
    ) -> None:
        hours = budget is not None and budget.gpu_hours is not None
        default = SCARCE_HOURS if hours else SCARCE_TRIALS
        self._thresholds = replace(
            default,
            chance=default.chance if config.chance is None else config.chance,
            n_min=default.n_min if config.n_min_curves is None else config.n_min_curves,
        )
        self._control_interval, self._epochs = config.control, epochs

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if self.is_control(trial.number):
            return False
        # Optuna's deep copy of every trial after each epoch would take longer with every trial.
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
        """True if a trial should be stopped, whether or not it is in the control arm.

        Args:
            trial: the trial.
            others: all other trials of the study to compare with.
            maximised: True if larger objective values are better.
            observed_values: values by step from 0 to base the decision on; None: all of them.
        """
        planned = self._planned_epochs(trial)
        complete = [
            value for other_trial in others if (value := finite_value(other_trial)) is not None
        ]
        points = _finite(trial.intermediate_values if observed_values is None else observed_values)
        if (
            len(complete) < self._thresholds.n_min
            or not points
            or not self._is_prunable_epoch(points, planned)
        ):
            return False
        loss_scale = _LossScale([*complete, *points.values()], maximised=maximised)
        curve = _make_curve(points, planned, trial.params, loss_scale)
        longer_curves = self._longer_curves(curve, others, loss_scale)
        if len(longer_curves) < self._thresholds.n_min:
            return False
        target = loss_scale.to_loss(
            self.best_threshold(complete, len(others) + 1, maximised=maximised)
        )
        return probability_below(target, curve, longer_curves) < self._thresholds.chance

    def best_threshold(self, complete: Sequence[float], n_trials: int, *, maximised: bool) -> float:
        """Objective value below (maximised: above) which a trial is among the best.

        Args:
            complete: values of complete trials, at least one.
            n_trials: number of all trials; pruned ones count as worse than every complete one.
            maximised: True if larger objective values are better.
        """
        # min: early in a study fewer trials are complete than the best share would contain.
        rank = min(math.ceil(self._thresholds.best_share * n_trials), len(complete))
        return sorted(complete, reverse=maximised)[rank - 1]

    def _is_prunable_epoch(self, points: Mapping[int, float], planned: int) -> bool:
        """True after the minimum share of the epochs and before the last one."""
        n_epochs = max(points) + 1
        return self._thresholds.min_share * planned <= n_epochs < planned

    def is_control(self, number: int) -> bool:
        """True if this trial belongs to the control arm, which is never pruned."""
        return self._control_interval > 0 and number % self._control_interval == 0

    def _longer_curves(
        self, curve: PartialCurve, others: Sequence[FrozenTrial], loss_scale: "_LossScale"
    ) -> list[PartialCurve]:
        """Newest curves that cover a larger share of their planned epochs than this one."""
        fraction = curve.epochs[-1] / curve.planned_epochs
        curves: list[PartialCurve] = []
        # Newest first, as the loop ends at MAX_CURVES.
        for trial in reversed(others):
            points = _finite(trial.intermediate_values)
            planned = self._planned_epochs(trial)
            if 0 not in points or (max(points) + 1) / planned <= fraction:
                continue
            if trial.state == TrialState.COMPLETE and max(points) + 1 < planned:
                # Early stopping ended it: its last value is taken as its value at the end.
                points |= {planned - 1: points[max(points)]}
            curves.append(_make_curve(points, planned, trial.params, loss_scale))
            if len(curves) == MAX_CURVES:
                break
        return curves

    def _planned_epochs(self, trial: FrozenTrial) -> int:
        return int(trial.params.get("train.epochs", self._epochs))


class _LossScale:
    """Map objective values to positive losses: lower is better, and ratios are meaningful.

    A maximised score that never exceeds 1, such as Dice, becomes its distance from 1.

    Args:
        values: objective values that set the scale.
        maximised: True if larger objective values are better.
    """

    def __init__(self, values: Sequence[float], *, maximised: bool) -> None:
        self._sign = -1.0 if maximised else 1.0
        raw = [self._sign * value for value in values]
        self._shift = 1.0 if maximised and max(values) <= 1 else 0.0
        if min(raw) + self._shift < 0:
            # The scale has no natural zero: place the best value at a tenth of the range.
            self._shift = 0.1 * (max(raw) - min(raw)) - min(raw)
        middle = sorted(raw)[len(raw) // 2] + self._shift
        self._floor = FLOOR_SHARE * (middle or 1.0)

    def to_loss(self, value: float) -> float:
        """Positive loss of an objective value."""
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
    """Value of a complete trial; None if it is not complete or the value is not finite."""
    if trial.state != TrialState.COMPLETE or trial.value is None:
        return None
    return trial.value if math.isfinite(trial.value) else None
