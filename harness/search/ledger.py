"""What a study's trials leave in writing: their records, and Optuna's rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from harness.paths import StudyPaths
from harness.records import TrialRecord, write_record
from harness.search.disk import Room
from harness.search.study import n_finished

T = TypeVar("T")
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


class Ledger:
    """Writes, and where the disk is full waits and writes again.

    Args:
        room: which waits.
        waited: called after a wait.

    Attributes:
        n_finished: trials that are complete, pruned or failed; imported ones do not count.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        paths: StudyPaths,
        room: Room,
        waited: Callable[[], None],
    ) -> None:
        self._study, self._storage, self._paths = study, storage, paths
        self._room, self._waited = room, waited
        self.n_finished = n_finished(study)  # asking Optuna takes longer with every trial

    def changed(self, record: TrialRecord, update: dict[str, Any]) -> TrialRecord:
        """The record with these fields, written to its trial's folder."""
        record = record.model_copy(update=update)
        self.patiently(lambda: write_record(self._paths.trial(record.number), record))
        return record

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> None:
        """Report an epoch, from 1, to Optuna, and to `trial` itself.

        Through the storage a repeated epoch overwrites; Trial.report would keep the first.
        """
        self.patiently(
            lambda: self._storage.set_trial_intermediate_value(trial._trial_id, epoch - 1, value)
        )
        self.remember(trial, epoch, value)

    def remember(self, trial: optuna.Trial, epoch: int, value: float) -> None:
        """Enter an epoch, from 1, in `trial` alone, so that its pruner reads no database."""
        known = trial._cached_frozen_trial.intermediate_values
        for step in [step for step in known if step >= epoch]:
            del known[step]  # of an attempt that came further: this one is judged where it is
        known[epoch - 1] = value

    def tell(self, record: TrialRecord) -> None:
        """Tell Optuna how a trial has ended."""
        state = _STATES.get(record.state, TrialState.FAIL)
        value = record.value if state == TrialState.COMPLETE else None
        self.patiently(lambda: self._study.tell(record.number, value, state=state))
        self.n_finished += 1

    def patiently(self, do: Callable[[], T]) -> T:
        """What `do` gives, once there is room for what it writes; it must bear repeating."""
        before = self._room.n_waits
        result = self._room.patiently(do)
        if self._room.n_waits > before:
            self._waited()
        return result

    def wait(self, what: str, folder: Path | None) -> None:
        """Wait until there is room. Arguments and errors as `Room.wait`."""
        self._room.wait(what, folder)
        self._waited()

    def advanced(self) -> None:
        """An epoch was finished that no attempt had finished before."""
        self._room.advanced()
