"""The pruner's verdicts: one on each epoch of a trial, taken once."""

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
from harness.search.run.trials import RunningTrial
from harness.space.space import Categorical, SearchSpace


class PruningDecider:
    """Asks the pruner about each epoch of a trial, and never twice about the same one.

    A trial that is continued reports epochs again that it had reported before. By then other trials
    have come further, and beside them the same epoch may be judged differently: a trial that had
    passed would be pruned by a restart. So an epoch that was reported before gets the verdict that
    it had: to go on, unless its record names it as the one after which the trial is pruned.

    Args:
        study: its Optuna study; its pruner is set here.
        definition: what the study is.

    Attributes:
        build_pruner: builds the pruner from its settings, the planned epochs and the budget.
    """

    def __init__(self, study: optuna.Study, definition: StudyDefinition) -> None:
        self._study, self._definition = study, definition
        self.build_pruner: Callable[[PrunerConfig, int, BudgetConfig], BasePruner] = build_pruner

    def prepare_sampling(self) -> None:
        """Set the pruner for a trial whose epochs are not drawn yet: Hyperband's samplers ask."""
        self._set_pruner(max_epochs(self._definition.space))

    def should_prune(self, running: RunningTrial, epoch: int) -> bool:
        """Whether a trial is pruned after this epoch, whose value `running.trial` knows.

        Args:
            epoch: from 1.
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
        last = epoch >= record.epochs  # nothing is left to be saved by pruning
        return not last and running.trial.should_prune()

    def _register_rungs(self, running: RunningTrial) -> None:
        """Have Optuna note the rungs that a continued trial has passed.

        Hyperband keeps these notes in the database. A database that was rebuilt lacks them, and
        the trial would be judged at all of its rungs at once.
        """
        for step in sorted(running.unregistered_steps):
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


# Of the epochs of a trial, after which halving judges it first; what the first epoch says is luck.
FIRST_RUNG_SHARE = 1 / 8


def build_pruner(
    config: PrunerConfig, epochs: int, budget: BudgetConfig | None = None
) -> BasePruner:
    """The pruner for a trial of `epochs` epochs.

    Optuna counts steps from 0: epoch e is step e - 1, so a warm-up of w epochs, w being
    ceil(warmup * epochs), first allows pruning after epoch w + 1.

    Args:
        budget: of the study; `curve` is bolder where hours are limited.

    Sources:
        median, percentile: Golovin et al. 2017 (Google Vizier), the median stopping rule.
        halving: Li et al. 2020 (ASHA). hyperband: Li et al. 2018.
    """
    warmup = math.ceil(config.warmup * epochs - 1e-9)  # 0.3 * 10 is 3.0000000000000004
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
    """Epochs of a trial that is not drawn yet; Hyperband sorts trials into brackets by them."""
    parameter = space.by_key.get("train.epochs")
    if parameter is None:
        return int(space.constants["train.epochs"])
    return int(max(parameter.choices) if isinstance(parameter, Categorical) else parameter.high)


class HalvingPruner(BasePruner):
    """Stops a trial that is not among the best 1 / `factor` of those that came as far.

    Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934), judged after `first` epochs,
    `factor` times as many, and so on; each time by the best value so far. Of fewer than `factor`
    trials only the best goes on.

    Optuna's own writes into its database which rungs a trial has passed. A trial that was killed
    between that and the answer would be judged otherwise when it is continued, and trials that
    were imported, or read back from their folders, have no such notes.

    Args:
        first: epochs, from 1, after which a trial is judged first.
        factor: at least 2.
    """

    def __init__(self, first: int, factor: int) -> None:
        self._first, self._factor = first, factor

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or not self._is_rung(step + 1):
            return False
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        own_value = _best_value(trial, step, sign)
        others = [
            _best_value(other_trial, step, sign)
            for other_trial in study.get_trials(deepcopy=False)
            if step in other_trial.intermediate_values and other_trial.number != trial.number
        ]
        n_better = sum(value < own_value for value in others)
        return n_better >= max(1, (len(others) + 1) // self._factor)

    def _is_rung(self, epoch: int) -> bool:
        rung = self._first
        while rung < epoch:
            rung *= self._factor
        return rung == epoch


def _best_value(trial: FrozenTrial, step: int, sign: float) -> float:
    """The best value up to a step, such that less is better."""
    return min(
        sign * v for reported_step, v in trial.intermediate_values.items() if reported_step <= step
    )
