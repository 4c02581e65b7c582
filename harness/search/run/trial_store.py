"""Writing of trials: their records in the study's folder, and their rows in Optuna."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, write_record
from harness.search.run.disk_space import DiskSpaceGuard
from harness.search.storage.optuna_study import count_finished_trials, trial_attributes

T = TypeVar("T")
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


class TrialStore:
    """Writes records and rows; while the disk is full it waits and writes again.

    Args:
        disk_guard: waits while the disk is full.
        on_wait: called after a wait.

    Attributes:
        n_finished: number of trials that are complete, pruned or failed, without imported ones.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        paths: StudyPaths,
        disk_guard: DiskSpaceGuard,
        on_wait: Callable[[], None],
    ) -> None:
        self._study, self._storage, self._paths = study, storage, paths
        self._disk_guard, self._on_wait = disk_guard, on_wait
        # Counted once: reading all trials from Optuna takes longer with every trial.
        self.n_finished = count_finished_trials(study)

    def update_record(self, record: TrialRecord, update: dict[str, Any]) -> TrialRecord:
        """Change fields of a record and write it to its trial's folder; returns the new record."""
        record = record.model_copy(update=update)
        self.retry_when_full(lambda: write_record(self._paths.trial(record.number), record))
        return record

    def report_epoch(self, trial: optuna.Trial, epoch: int, value: float) -> None:
        """Report an epoch, from 1, to Optuna, and to `trial` itself.

        Through the storage a repeated epoch overwrites; `Trial.report` would keep the first value.
        """
        self.retry_when_full(
            lambda: self._storage.set_trial_intermediate_value(trial._trial_id, epoch - 1, value)
        )
        self.cache_epoch(trial, epoch, value)

    def cache_epoch(self, trial: optuna.Trial, epoch: int, value: float) -> None:
        """Enter an epoch, from 1, in `trial` alone, so that its pruner reads no database.

        `_cached_frozen_trial` is private to Optuna: the tests of pruning notice if it changes.
        """
        reported_values = trial._cached_frozen_trial.intermediate_values
        for step in [step for step in reported_values if step >= epoch]:
            # Of an attempt that came further: the pruner must compare this one at its own epoch.
            del reported_values[step]
        reported_values[epoch - 1] = value

    def finish_trial(self, record: TrialRecord) -> None:
        """Report the end of a trial to Optuna."""
        # Optuna gives a pruned trial its last reported value: such a value is never ranked.
        state = _STATES.get(record.state, TrialState.FAIL)
        # Of a pruned trial Optuna itself stores the last report as its value.
        value = record.value if state == TrialState.COMPLETE else None
        self.retry_when_full(lambda: self._set_attributes(record))
        self.retry_when_full(lambda: self._study.tell(record.number, value, state=state))
        self.n_finished += 1

    def _set_attributes(self, record: TrialRecord) -> None:
        # Before `tell`: Optuna refuses changes of a finished trial.
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(
            self._study._study_id, record.number
        )
        for name, value in trial_attributes(record).items():
            self._storage.set_trial_user_attr(trial_id, name, value)

    def retry_when_full(self, action: Callable[[], T]) -> T:
        """Run a repeatable action, again after each wait for disk space."""
        before = self._disk_guard.n_waits
        result = self._disk_guard.retry_when_full(action)
        if self._disk_guard.n_waits > before:
            self._on_wait()
        return result

    def wait_for_space(self, reason: str, folder: Path | None) -> None:
        """Wait for disk space. Arguments and errors as `DiskSpaceGuard.wait`."""
        self._disk_guard.wait(reason, folder)
        self._on_wait()

    def reset_waits(self) -> None:
        """Start with short waits again, after an epoch that no attempt had finished before."""
        self._disk_guard.reset_waits()
