"""The next trial to train: one that was left running, or a new one."""

from collections.abc import Container

import optuna
from optuna.trial import TrialState

from harness.search.pruning.pruner import PruningDecider
from harness.search.run.trial_store import TrialStore
from harness.search.run.trials import RunningTrial, TrialFactory


class TrialSource:
    """Draws new trials and adopts old ones, waiting where the disk is full.

    Args:
        study: its Optuna study.
        factory: which writes trials down.
        store: which waits.
        pruning: whose pruner some samplers ask.
    """

    def __init__(
        self, study: optuna.Study, factory: TrialFactory, store: TrialStore, pruning: PruningDecider
    ) -> None:
        self._study, self._factory, self._store, self._pruning = study, factory, store, pruning
        self._creation_pending = False

    def unfinished_trials(self, running_numbers: Container[int] = ()) -> list[int]:
        """Numbers of the trials that run for Optuna, and are none of these."""
        rows = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [row.number for row in rows if row.number not in running_numbers]

    def create_trial(self, running_numbers: Container[int]) -> RunningTrial:
        """A new trial, beside those that are trained already."""
        self._pruning.prepare_sampling()
        return self._store.retry_when_full(lambda: self._create_or_resume(running_numbers))

    def resume_trial(self, number: int) -> RunningTrial | None:
        """A trial that was left running; None: it had ended, and Optuna was not told in time."""
        self._pruning.prepare_sampling()
        running = self._store.retry_when_full(lambda: self._factory.resume_trial(number))
        if running.record.state == "running":
            return running
        self._store.finish_trial(running.record)
        return None

    def _create_or_resume(self, running_numbers: Container[int]) -> RunningTrial:
        """A new trial, or the one whose drawing a full disk has interrupted."""
        unfinished = self.unfinished_trials(running_numbers) if self._creation_pending else []
        self._creation_pending = True
        running = (
            self._factory.resume_trial(unfinished[0])
            if unfinished
            else self._factory.create_trial()
        )
        self._creation_pending = False
        return running
