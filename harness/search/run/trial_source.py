"""Choice of the next trial to train: an unfinished one of an earlier run, or a new one.

Separate from `TrialFactory`, which only creates: here a full disk may interrupt the creation.
"""

from collections.abc import Container

import optuna
from optuna.trial import TrialState

from harness.search.pruning.pruner import PruningDecider
from harness.search.run.running_trial import RunningTrial
from harness.search.run.trial_store import TrialStore
from harness.search.run.trials import TrialFactory


class TrialSource:
    """Creates new trials and resumes unfinished ones, waiting while the disk is full.

    Args:
        study: the Optuna study.
        factory: creates the trials and writes their records.
        store: waits while the disk is full.
        pruning: prepares the pruner, which some samplers call.
    """

    def __init__(
        self, study: optuna.Study, factory: TrialFactory, store: TrialStore, pruning: PruningDecider
    ) -> None:
        self._study, self._factory, self._store, self._pruning = study, factory, store, pruning
        self._creation_pending = False

    def unfinished_trials(self, running_numbers: Container[int] = ()) -> list[int]:
        """Numbers of the trials with state RUNNING in Optuna that no worker is training."""
        # Only read. Optuna's deep copies of 10,000 trials
        # take more than a second (1.2 s, measured).
        rows = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [row.number for row in rows if row.number not in running_numbers]

    def create_trial(self, running_numbers: Container[int]) -> RunningTrial:
        """Create a new trial while those of `running_numbers` are being trained."""
        self._pruning.prepare_sampling()
        return self._store.retry_when_full(lambda: self._create_or_resume(running_numbers))

    def resume_trial(self, number: int) -> RunningTrial | None:
        """Resume an unfinished trial; None: it had ended, and Optuna is only informed now.

        The record is written before Optuna's row, so a kill between the two leaves a finished
        record with a row that is still RUNNING.
        """
        self._pruning.prepare_sampling()
        running = self._store.retry_when_full(lambda: self._factory.resume_trial(number))
        if running.record.state == "running":
            return running
        self._store.finish_trial(running.record)
        return None

    def _create_or_resume(self, running_numbers: Container[int]) -> RunningTrial:
        """Create a trial, or complete the one whose creation a full disk has interrupted.

        Without this, each retry after a full disk would leave another RUNNING row in Optuna.
        """
        unfinished = self.unfinished_trials(running_numbers) if self._creation_pending else []
        self._creation_pending = True
        running = (
            self._factory.resume_trial(unfinished[0])
            if unfinished
            else self._factory.create_trial()
        )
        self._creation_pending = False
        return running
