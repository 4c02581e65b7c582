"""The pruner's verdicts: one on each epoch of a trial, taken once."""

import copy
from collections.abc import Callable

import optuna
from optuna.pruners import BasePruner, HyperbandPruner

from harness.config.study import BudgetConfig, PrunerConfig
from harness.search.definition.definition import StudyDefinition
from harness.search.pruning.factory import build_pruner, max_epochs
from harness.search.run.trials import RunningTrial


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
