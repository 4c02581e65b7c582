"""Optuna's rows from the trial folders, where a database was lost, damaged or left behind.

The folders are the truth. Numbers stay as they were: a row that has no folder (its controller died
between asking Optuna and writing trial.json) is entered as a trial still to be asked.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import json_to_distribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.paths import StudyPaths
from harness.records import TrialRecord, read_epochs, read_records
from harness.search.definition import Definition
from harness.search.fingerprint import check_unchanged
from harness.search.study import IMPORTED, open_study
from harness.wording import count

FIXED = "fixed_params"  # Optuna's own mark of an enqueued row
STATES = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def open_index(
    storage: RDBStorage,
    paths: StudyPaths,
    definition: Definition,
    say: Callable[[str], None],
) -> optuna.Study:
    """The Optuna study, with every trial that the folders hold, imported ones included.

    Raises:
        UserError: another study of that name is in the database, or the definition was edited.
    """
    study = open_study(storage, paths.name, definition.config)
    check_unchanged(study, paths, definition)
    records = {record.number: record for record in read_records(paths)}
    if (number := _differing(study, records)) is not None:
        say(
            f"trial {number} in Optuna's database differs from its folder: rebuilt from the folders"
        )
        optuna.delete_study(study_name=study.study_name, storage=storage)
        study = open_study(storage, paths.name, definition.config)
        check_unchanged(study, paths, definition)
    if (n_lost := enter_missing(study, paths, definition)) > 0:
        say(f"Optuna's database lacked {count(n_lost, 'trial')}: entered again from their folders")
    return study


def enter_missing(study: optuna.Study, paths: StudyPaths, definition: Definition) -> int:
    """Enter the trials that have folders and no rows, imported ones included, in order.

    Returns:
        How many were entered, imported ones not counted.
    """
    records = {record.number: record for record in read_records(paths)}
    n_there = len(study.get_trials(deepcopy=False))
    n_wanted = max(records, default=-1) + 1
    enqueued = _enqueued(definition)
    for number in range(n_there, n_wanted):
        fixed = enqueued.get(number)
        if number in records:
            study.add_trial(_row(records[number], paths, definition, fixed))
        else:
            study.add_trial(_empty(fixed))
    n_imported = sum(len(plan.trials) for plan in definition.config.imports)
    return max(0, n_wanted - max(n_there, n_imported))


def _differing(study: optuna.Study, records: dict[int, TrialRecord]) -> int | None:
    """The first trial that Optuna holds otherwise than its folder; None: there is none."""
    for row in study.get_trials(deepcopy=False):
        record = records.get(row.number)
        if record is not None and not _same(row, record):
            return row.number
    return None


def _same(row: FrozenTrial, record: TrialRecord) -> bool:
    # A record is written before Optuna is told, so a trial may have ended in its folder alone.
    if row.state not in (STATES[record.state], TrialState.RUNNING):
        return False
    value_differs = row.state is TrialState.COMPLETE and row.value != record.value
    return dict(row.params) == record.params and not value_differs


def _enqueued(definition: Definition) -> dict[int, dict[str, Any]]:
    """What the rows of the space's `enqueue` hold, by number: they follow the imported trials."""
    first = sum(len(plan.trials) for plan in definition.config.imports)
    space = definition.space
    return {first + i: space.stored(row) for i, row in enumerate(space.enqueue)}


def _row(
    record: TrialRecord,
    paths: StudyPaths,
    definition: Definition,
    fixed: dict[str, Any] | None,
) -> FrozenTrial:
    """A trial as Optuna would hold it, had nothing been lost."""
    objective = definition.config.objective
    steps = {
        int(epoch["epoch"]) - 1: epoch[objective.metric]
        for epoch in read_epochs(paths.trial(record.number))
        if objective.metric in epoch and objective.can_be(epoch[objective.metric])
    }
    value = None
    if record.state == "complete":
        value = record.value
    elif record.state == "pruned" and steps:
        value = steps[max(steps)]  # as `tell` does
    trial = create_trial(
        state=STATES[record.state],
        value=value,
        params=dict(record.params),
        distributions={
            key: json_to_distribution(json.dumps(stored))
            for key, stored in record.distributions.items()
        },
        intermediate_values=steps,
        user_attrs={} if record.imported is None else {IMPORTED: record.imported},
        system_attrs={} if fixed is None else {FIXED: fixed},
    )
    trial.datetime_start = _local(record.started) or trial.datetime_start
    if record.state != "running":
        trial.datetime_complete = _local(record.ended) or trial.datetime_complete
    return trial


def _empty(fixed: dict[str, Any] | None) -> FrozenTrial:
    """A row that is still to be asked."""
    if fixed is None:
        return create_trial(state=TrialState.RUNNING)
    return create_trial(state=TrialState.WAITING, system_attrs={FIXED: fixed})


def _local(moment: str | None) -> datetime | None:
    """Optuna's dates are naive and local."""
    if moment is None:
        return None
    return datetime.fromisoformat(moment).astimezone().replace(tzinfo=None)
