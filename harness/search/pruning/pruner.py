"""Pruners of a study: built from the `pruner:` settings, and asked once about each epoch."""

import copy
import math
import warnings
from collections.abc import Callable

import optuna
from optuna.pruners import BasePruner, HyperbandPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from harness.config.study import BudgetConfig, PrunerConfig
from harness.search.definition.definition import StudyDefinition
from harness.search.pruning.learning_curve import CurvePruner
from harness.search.run.running_trial import RunningTrial
from harness.space.space import Categorical, SearchSpace

# Share of a trial's epochs before the first rung of halving: a single epoch is mostly noise.
FIRST_RUNG_SHARE = 1 / 8


class PruningDecider:
    """Decide whether a trial is pruned, exactly once for each of its epochs.

    A resumed trial reports some epochs a second time. Other trials have advanced in the meantime,
    so a second evaluation of the same epoch could differ and a restart would prune a trial that
    had passed. Therefore an epoch that was reported before keeps its first decision: continue,
    unless the record names this epoch as the one after which the trial is pruned.

    Args:
        study: the Optuna study; its `pruner` attribute is set here.
        definition: the study's definition.

    Attributes:
        build_pruner: builds the pruner from its settings, the planned epochs and the budget.
    """

    def __init__(self, study: optuna.Study, definition: StudyDefinition) -> None:
        self._study, self._definition = study, definition
        self.build_pruner: Callable[[PrunerConfig, int, BudgetConfig], BasePruner] = build_pruner

    def prepare_sampling(self) -> None:
        """Set the pruner before a trial's epochs are sampled.

        With Hyperband, Optuna's samplers only use trials of the same bracket, and the bracket
        comes from the pruner that the study has at this moment.
        """
        self._set_pruner(max_epochs(self._definition.space))

    def should_prune(self, running: RunningTrial, epoch: int) -> bool:
        """True if a trial is pruned after this epoch.

        Args:
            running: the trial; the epoch's value was reported to its Optuna trial.
            epoch: number of the epoch, from 1.
        """
        record = running.record
        if record.pruned_after is not None:
            return epoch >= record.pruned_after
        if epoch <= running.last_pruner_epoch:
            return False
        self._set_pruner(record.epochs)
        if isinstance(self._study.pruner, HyperbandPruner):
            self._register_rungs(running)
        running.last_pruner_epoch = epoch
        is_last = epoch >= record.epochs  # pruning after the last epoch saves nothing
        return not is_last and running.trial.should_prune()

    def _register_rungs(self, running: RunningTrial) -> None:
        """Let Optuna record the rungs that a resumed trial has passed.

        Hyperband stores passed rungs as system attributes in the database. A rebuilt database
        lacks them, and the next epoch would be compared at all earlier rungs simultaneously.
        """
        for step in sorted(running.unregistered_steps):
            # Optuna has no public call for this; `prune` of a truncated copy writes the attribute
            # as a side effect, and the answer itself is ignored.
            frozen = copy.copy(running.trial._get_latest_trial())
            values = frozen.intermediate_values
            frozen.intermediate_values = {
                reported_step: v for reported_step, v in values.items() if reported_step <= step
            }
            if step in values:
                self._study.pruner.prune(self._study, frozen)
        running.unregistered_steps = ()

    def _set_pruner(self, epochs: int) -> None:
        config = self._definition.config
        self._study.pruner = self.build_pruner(config.pruner, epochs, config.budget)


def build_pruner(
    config: PrunerConfig, epochs: int, budget: BudgetConfig | None = None
) -> BasePruner:
    """Build the pruner for a trial of `epochs` epochs.

    Optuna counts steps from 0: epoch e is step e - 1. A warm-up of w = ceil(warmup * epochs)
    epochs therefore allows pruning after epoch w + 1 at the earliest.

    Args:
        config: the `pruner:` settings of study.yaml.
        epochs: planned epochs of the trial.
        budget: budget of the study; `curve` prunes more where GPU hours are limited.

    Sources:
        median, percentile: Golovin et al. 2017 (Google Vizier), the median stopping rule.
        halving: Li et al. 2020 (ASHA). hyperband: Li et al. 2018.
    """
    # Without the tolerance 0.3 * 10, which is 3.0000000000000004, would round up to 4.
    warmup = math.ceil(config.warmup * epochs - 1e-9)
    match config.name:
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return _percentile_pruner(config, 50.0, warmup)
        case "percentile":
            return _percentile_pruner(config, config.percentile, warmup)
        case "halving":
            first = config.min_resource or max(2, math.ceil(epochs * FIRST_RUNG_SHARE))
            return HalvingPruner(first, config.reduction_factor or 2)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=min(config.min_resource or 1, epochs),
                max_resource=epochs,
                reduction_factor=config.reduction_factor or 3,
            )
        case "patient":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.pruners.PatientPruner(
                    _percentile_pruner(config, 50.0, warmup),
                    patience=config.patience,
                    min_delta=config.min_delta,
                )
        case "curve":
            return CurvePruner(config, epochs, budget)


def _percentile_pruner(config: PrunerConfig, percentile: float, warmup: int) -> BasePruner:
    return optuna.pruners.PercentilePruner(
        percentile,
        n_startup_trials=config.n_startup_trials,
        n_warmup_steps=warmup,
        n_min_trials=config.n_min_trials,
    )


def max_epochs(space: SearchSpace) -> int:
    """Largest number of epochs that a trial of this space can have.

    Hyperband needs it to assign a trial to a bracket before its epochs are sampled.
    """
    parameter = space.by_key.get("train.epochs")
    if parameter is None:
        return int(space.constants["train.epochs"])
    return int(max(parameter.choices) if isinstance(parameter, Categorical) else parameter.high)


class HalvingPruner(BasePruner):
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934), without stored state.

    A trial is compared after `first` epochs, after `factor` times as many, and so on, each time
    by its best value so far. It continues if it is among the best 1 / `factor` of all trials that
    reached this epoch; of fewer than `factor` trials only the best one continues.

    Optuna's SuccessiveHalvingPruner stores the passed rungs of a trial in its database instead.
    A trial that was killed between that write and the answer would get another decision when it
    is resumed, and trials that were imported or rebuilt from their folders have no such entries.

    Args:
        first: epochs before the first comparison, from 1.
        factor: reduction factor, at least 2.
    """

    def __init__(self, first: int, factor: int) -> None:
        self._first, self._factor = first, factor

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        # A rung is one exact epoch: trials are compared there once and never again in between.
        if step is None or not self._is_rung(step + 1):
            return False
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        own_value = _best_value(trial, step, sign)
        others = [
            _best_value(other_trial, step, sign)
            for other_trial in study.get_trials(deepcopy=False)
            if step in other_trial.intermediate_values and other_trial.number != trial.number
        ]
        # Only strictly better trials count, so equal values never prune each other.
        n_better = sum(value < own_value for value in others)
        return n_better >= max(1, (len(others) + 1) // self._factor)

    def _is_rung(self, epoch: int) -> bool:
        rung = self._first
        while rung < epoch:
            rung *= self._factor
        return rung == epoch


def _best_value(trial: FrozenTrial, step: int, sign: float) -> float:
    """Best value up to a step, with its sign changed so that lower is better."""
    return min(
        sign * v for reported_step, v in trial.intermediate_values.items() if reported_step <= step
    )
