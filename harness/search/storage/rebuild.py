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

from harness.core import files
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.plurals import count
from harness.core.records import TrialRecord, read_epochs, read_records
from harness.search.definition.definition import StudyDefinition, config_differences
from harness.search.storage.optuna_study import IMPORTED_ATTR, open_optuna_study

FIXED_PARAMS = "fixed_params"  # Optuna's own mark of an enqueued row
OPTUNA_STATES = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def load_or_rebuild_study(
    storage: RDBStorage,
    paths: StudyPaths,
    definition: StudyDefinition,
    log: Callable[[str], None],
) -> optuna.Study:
    """The Optuna study, with every trial that the folders hold, imported ones included.

    Raises:
        UserError: another study of that name is in the database, or the definition was edited.
    """
    study = open_optuna_study(storage, paths.name, definition.config)
    check_definition_unchanged(study, paths, definition)
    records = {record.number: record for record in read_records(paths)}
    if (number := _first_difference(study, records)) is not None:
        log(
            f"trial {number} in Optuna's database differs from its folder: rebuilt from the folders"
        )
        optuna.delete_study(study_name=study.study_name, storage=storage)
        study = open_optuna_study(storage, paths.name, definition.config)
        check_definition_unchanged(study, paths, definition)
    if (n_lost := add_missing_trials(study, paths, definition)) > 0:
        log(f"Optuna's database lacked {count(n_lost, 'trial')}: entered again from their folders")
    return study


def add_missing_trials(study: optuna.Study, paths: StudyPaths, definition: StudyDefinition) -> int:
    """Enter the trials that have folders and no rows, imported ones included, in order.

    Returns:
        How many were entered, imported ones not counted.
    """
    records = {record.number: record for record in read_records(paths)}
    n_existing = len(study.get_trials(deepcopy=False))
    n_total = max(records, default=-1) + 1
    enqueued = _enqueued_params(definition)
    for number in range(n_existing, n_total):
        fixed = enqueued.get(number)
        if number in records:
            study.add_trial(_to_optuna_trial(records[number], paths, definition, fixed))
        else:
            study.add_trial(_placeholder_trial(fixed))
    n_imported = sum(len(plan.trials) for plan in definition.config.imports)
    return max(0, n_total - max(n_existing, n_imported))


def _first_difference(study: optuna.Study, records: dict[int, TrialRecord]) -> int | None:
    """The first trial that Optuna holds otherwise than its folder; None: there is none."""
    for row in study.get_trials(deepcopy=False):
        record = records.get(row.number)
        if record is not None and not _matches_record(row, record):
            return row.number
    return None


def _matches_record(row: FrozenTrial, record: TrialRecord) -> bool:
    # A record is written before Optuna is told, so a trial may have ended in its folder alone.
    if row.state not in (OPTUNA_STATES[record.state], TrialState.RUNNING):
        return False
    value_differs = row.state is TrialState.COMPLETE and row.value != record.value
    return dict(row.params) == record.params and not value_differs


def _enqueued_params(definition: StudyDefinition) -> dict[int, dict[str, Any]]:
    """What the rows of the space's `enqueue` hold, by number: they follow the imported trials."""
    first = sum(len(plan.trials) for plan in definition.config.imports)
    space = definition.space
    return {first + i: space.to_optuna(row) for i, row in enumerate(space.enqueue)}


def _to_optuna_trial(
    record: TrialRecord,
    paths: StudyPaths,
    definition: StudyDefinition,
    fixed: dict[str, Any] | None,
) -> FrozenTrial:
    """A trial as Optuna would hold it, had nothing been lost."""
    objective = definition.config.objective
    steps = {
        int(epoch["epoch"]) - 1: epoch[objective.metric]
        for epoch in read_epochs(paths.trial(record.number))
        if objective.metric in epoch and objective.is_possible_value(epoch[objective.metric])
    }
    value = None
    if record.state == "complete":
        value = record.value
    elif record.state == "pruned" and steps:
        value = steps[max(steps)]  # as `tell` does
    trial = create_trial(
        state=OPTUNA_STATES[record.state],
        value=value,
        params=dict(record.params),
        distributions={
            key: json_to_distribution(json.dumps(stored))
            for key, stored in record.distributions.items()
        },
        intermediate_values=steps,
        user_attrs={} if record.imported is None else {IMPORTED_ATTR: record.imported},
        system_attrs={} if fixed is None else {FIXED_PARAMS: fixed},
    )
    trial.datetime_start = _local_time(record.started) or trial.datetime_start
    if record.state != "running":
        trial.datetime_complete = _local_time(record.ended) or trial.datetime_complete
    return trial


def _placeholder_trial(fixed: dict[str, Any] | None) -> FrozenTrial:
    """A row that is still to be asked."""
    if fixed is None:
        return create_trial(state=TrialState.RUNNING)
    return create_trial(state=TrialState.WAITING, system_attrs={FIXED_PARAMS: fixed})


def _local_time(timestamp: str | None) -> datetime | None:
    """Optuna's dates are naive and local."""
    if timestamp is None:
        return None
    return datetime.fromisoformat(timestamp).astimezone().replace(tzinfo=None)


DEFINITION_ATTR = "harness.definition"  # of an Optuna study


# Of these, keys may come and go by hand; all others are spelt out, and new ones a new version's.
_VARIABLE_PREFIXES = ("fixed.", "space_yaml.", "files.")


def check_definition_unchanged(
    study: optuna.Study, paths: StudyPaths, definition: StudyDefinition
) -> None:
    """Refuse a definition that was edited since the study began; note it when it is new.

    Raises:
        ConfigError: every difference, as recorded and as it is now.
    """
    current = _fingerprint(paths, definition)
    recorded = study.user_attrs.get(DEFINITION_ATTR)
    if recorded is None:
        study.set_user_attr(DEFINITION_ATTR, current)
        return
    changes = [
        line
        for line in config_differences(recorded, current)
        if line.startswith(_VARIABLE_PREFIXES) or ": 'absent' -> " not in line
    ]
    if changes:
        raise ConfigError(
            [
                f"the files of study {paths.name} were changed after it had begun:",
                *(f"  {line}" for line in changes),
                "put them back, or start a new study: give it another name with --study",
            ]
        )


def _fingerprint(paths: StudyPaths, definition: StudyDefinition) -> dict[str, Any]:
    """The definition but for where its images lie, and the hashes of the files it names."""
    facts = definition.config.definition()
    del facts["data"]["root"]
    hashed_files = [paths.split_csv, *sorted(paths.augments.glob("*"))]
    if (
        paths.is_confirmation
    ):  # its rows may become more; those that are trained are compared elsewhere
        hashed_files += sorted(paths.root.glob("split-*.csv"))
        space: dict[str, Any] = {}
    else:
        space = definition.recorded_space.as_dict()
    hashes = {path.name: files.file_sha256(path) for path in hashed_files if path.is_file()}
    return facts | {"space_yaml": space, "files": hashes}
