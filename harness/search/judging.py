"""The pruner's verdicts: one on each epoch of a trial, taken once."""

import copy
from collections.abc import Callable

import optuna
from optuna.pruners import BasePruner, HyperbandPruner

from harness.config import BudgetConfig, PrunerConfig
from harness.search.definition import Definition
from harness.search.pruners import build_pruner, most_epochs
from harness.search.trials import Running


class Judge:
    """Asks the pruner about each epoch of a trial, and never twice about the same one.

    A trial that is continued reports epochs again that it had reported before. By then other trials
    have come further, and beside them the same epoch may be judged differently: a trial that had
    passed would be pruned by a restart. So an epoch that was reported before gets the verdict that
    it had: to go on, unless its record names it as the one after which the trial is pruned.

    Args:
        study: its Optuna study; its pruner is set here.
        definition: what the study is.

    Attributes:
        build: builds the pruner from its settings, the planned epochs and the budget.
    """

    def __init__(self, study: optuna.Study, definition: Definition) -> None:
        self._study, self._definition = study, definition
        self.build: Callable[[PrunerConfig, int, BudgetConfig], BasePruner] = build_pruner

    def expect_drawing(self) -> None:
        """Set the pruner for a trial whose epochs are not drawn yet: Hyperband's samplers ask."""
        self._set_pruner(most_epochs(self._definition.space))

    def prunes(self, running: Running, epoch: int) -> bool:
        """Whether a trial is pruned after this epoch, whose value `running.trial` knows.

        Args:
            epoch: from 1.
        """
        record = running.record
        if record.pruned_after is not None:
            return epoch >= record.pruned_after
        if epoch <= running.judged:
            return False
        self._set_pruner(record.epochs)
        if isinstance(self._study.pruner, HyperbandPruner):
            self._mark_passed(running)
        running.judged = epoch
        last = epoch >= record.epochs  # nothing is left to be saved by pruning
        return not last and running.trial.should_prune()

    def _mark_passed(self, running: Running) -> None:
        """Have Optuna note the rungs that a continued trial has passed.

        Hyperband keeps these notes in the database. A database that was rebuilt lacks them, and
        the trial would be judged at all of its rungs at once.
        """
        for step in sorted(running.unmarked):
            frozen = copy.copy(running.trial._get_latest_trial())
            values = frozen.intermediate_values
            frozen.intermediate_values = {at: v for at, v in values.items() if at <= step}
            if step in values:
                self._study.pruner.prune(self._study, frozen)
        running.unmarked = ()

    def _set_pruner(self, epochs: int) -> None:
        config = self._definition.config
        self._study.pruner = self.build(config.pruner, epochs, config.budget)
