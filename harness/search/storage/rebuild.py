"""Rebuild of Optuna's rows from the trial folders after a database was lost or damaged.

The folders are the truth, and trial numbers never change: a number without a folder (the
controller died between asking Optuna and writing trial.json) becomes a trial still to be sampled.
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
from harness.core.records import TrialRecord, read_epochs, read_records
from harness.core.text import count
from harness.search.definition.definition import StudyDefinition, config_differences
from harness.search.storage.optuna_study import (
    IMPORTED_ATTR,
    open_optuna_study,
    trial_attributes,
)

FIXED_PARAMS = "fixed_params"  # system attribute by which Optuna marks an enqueued row
DEFINITION_ATTR = "harness.definition"  # user attribute of an Optuna study
# Keys below these prefixes may be added or removed by hand. All other keys are always written, so
# one that only the current definition has comes from a newer version and is no change.
_VARIABLE_PREFIXES = ("fixed.", "space_yaml.", "files.")
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
    """Open the Optuna study and make its rows agree with the trial folders.

    Args:
        storage: the database.
        paths: folder of the study.
        definition: definition of the study.
        log: takes one line for each repair.

    Raises:
        UserError: the database contains another study of that name, or the definition was edited.
    """
    study = open_optuna_study(storage, paths.name, definition.config)
    check_definition_unchanged(study, paths, definition)
    records = {record.number: record for record in read_records(paths)}
    if (number := _first_difference(study, records)) is not None:
        log(
            f"trial {number} in Optuna's database differs from its folder: rebuilt from the folders"
        )
        # Rows cannot be edited after they have ended, so the whole study is entered again.
        optuna.delete_study(study_name=study.study_name, storage=storage)
        study = open_optuna_study(storage, paths.name, definition.config)
        check_definition_unchanged(study, paths, definition)
    if (n_lost := add_missing_trials(study, paths, definition)) > 0:
        log(f"Optuna's database lacked {count(n_lost, 'trial')}: restored from the trial folders")
    return study


def add_missing_trials(study: optuna.Study, paths: StudyPaths, definition: StudyDefinition) -> int:
    """Enter all trials that have a folder but no row, imported ones included, in order.

    Returns:
        Number of entered trials, imported ones not counted.
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
            # Numbers are positions in Optuna, so a gap must be filled
            # for later trials to keep their numbers.
            study.add_trial(_placeholder_trial(fixed))
    n_imported = sum(len(plan.trials) for plan in definition.config.imports)
    return max(0, n_total - max(n_existing, n_imported))


def _first_difference(study: optuna.Study, records: dict[int, TrialRecord]) -> int | None:
    """Number of the first trial whose row disagrees with its folder; None if all agree."""
    for row in study.get_trials(deepcopy=False):
        record = records.get(row.number)
        if record is not None and not _matches_record(row, record):
            return row.number
    return None


def _matches_record(row: FrozenTrial, record: TrialRecord) -> bool:
    # trial.json is written before Optuna's row, so a trial may have ended in its folder alone.
    if row.state not in (OPTUNA_STATES[record.state], TrialState.RUNNING):
        return False
    value_differs = row.state is TrialState.COMPLETE and row.value != record.value
    return dict(row.params) == record.params and not value_differs


def _enqueued_params(definition: StudyDefinition) -> dict[int, dict[str, Any]]:
    """Parameters of the space's `enqueue` rows by trial number; they follow the imported trials."""
    first = sum(len(plan.trials) for plan in definition.config.imports)
    space = definition.space
    return {first + i: space.to_optuna(row) for i, row in enumerate(space.enqueue)}


def _to_optuna_trial(
    record: TrialRecord,
    paths: StudyPaths,
    definition: StudyDefinition,
    fixed: dict[str, Any] | None,
) -> FrozenTrial:
    """Row of a trial as Optuna itself would have stored it.

    TPE built from such rows makes the same next suggestion (checked with 12 trials).
    """
    objective = definition.config.objective
    # Optuna accepts infinite values and would keep one as the best for ever: leave them out.
    steps = {
        int(epoch["epoch"]) - 1: epoch[objective.metric]
        for epoch in read_epochs(paths.trial(record.number))
        if objective.metric in epoch and objective.is_possible_value(epoch[objective.metric])
    }
    value = None
    if record.state == "complete":
        value = record.value
    elif record.state == "pruned" and steps:
        value = steps[max(steps)]  # `tell` stores the last report of a pruned trial
    user_attributes = {} if record.state == "running" else trial_attributes(record)
    if record.imported is not None:
        user_attributes[IMPORTED_ATTR] = record.imported
    trial = create_trial(
        state=OPTUNA_STATES[record.state],
        value=value,
        params=dict(record.params),
        distributions={
            key: json_to_distribution(json.dumps(stored))
            for key, stored in record.distributions.items()
        },
        intermediate_values=steps,
        user_attrs=user_attributes,
        system_attrs={} if fixed is None else {FIXED_PARAMS: fixed},
    )
    # create_trial sets both times to now.
    trial.datetime_start = _local_time(record.started) or trial.datetime_start
    if record.state != "running":
        trial.datetime_complete = _local_time(record.ended) or trial.datetime_complete
    return trial


def _placeholder_trial(fixed: dict[str, Any] | None) -> FrozenTrial:
    """Row of a trial whose parameters are not sampled yet."""
    if fixed is None:
        return create_trial(state=TrialState.RUNNING)
    return create_trial(state=TrialState.WAITING, system_attrs={FIXED_PARAMS: fixed})


def _local_time(timestamp: str | None) -> datetime | None:
    """Timestamp as naive local time, the form that Optuna stores."""
    if timestamp is None:
        return None
    return datetime.fromisoformat(timestamp).astimezone().replace(tzinfo=None)


def check_definition_unchanged(
    study: optuna.Study, paths: StudyPaths, definition: StudyDefinition
) -> None:
    """Refuse a definition that was edited after the study started; record it in a new study.

    Optuna keeps a copy because study.yaml is text that anyone can edit.

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
                f"the files of study {paths.name} were changed after it had started:",
                *(f"  {line}" for line in changes),
                "restore them, or start a new study under another name with --study",
            ]
        )


def _fingerprint(paths: StudyPaths, definition: StudyDefinition) -> dict[str, Any]:
    """Definition of a study without the folder of its images, and the hashes of its files."""
    facts = definition.config.definition()
    # The folder may be moved: images are identified by the hashes in split.csv.
    del facts["data"]["root"]
    hashed_files = [paths.split_csv, *sorted(paths.augments.glob("*"))]
    if paths.is_confirmation:
        # Rows may be added to a confirmation; the trained ones are compared elsewhere.
        hashed_files += sorted(paths.root.glob("split-*.csv"))
        space: dict[str, Any] = {}
    else:
        space = definition.recorded_space.as_dict()
    hashes = {path.name: files.file_sha256(path) for path in hashed_files if path.is_file()}
    return facts | {"space_yaml": space, "files": hashes}
