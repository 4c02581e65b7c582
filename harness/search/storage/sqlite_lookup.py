"""Facts from the SQLite files of Optuna and MLflow, read without importing these libraries."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.records import TrialRecord
from harness.search.storage.location import StorageLocation, storage_url
from harness.tracking.tags import COPIED_TAG, ROLE_TAG, STUDY_TAG, TRIAL_TAG
from harness.tracking.uri import TrackingStore

STUDY_ID_ATTR = "harness.study_id"  # user attribute of each Optuna study of ours
# A locked mlflow.db must not delay the start: the mirror retries later in its own thread.
_LOCK_TIMEOUT_S = 5.0
# True if an experiment of this name belongs to another study, or if this study's was deleted.
_CONFLICT_QUERY = """
    SELECT 1 FROM experiments WHERE (name = :name AND experiment_id NOT IN
        (SELECT experiment_id FROM experiment_tags WHERE key = :key AND value = :study_id))
    OR (lifecycle_stage <> 'active' AND experiment_id IN
        (SELECT experiment_id FROM experiment_tags WHERE key = :key AND value = :study_id))
"""
_TAKEN_QUERY = """
    SELECT 1 FROM studies WHERE study_name = :name AND study_id NOT IN
        (SELECT study_id FROM study_user_attributes WHERE key = :key AND value_json = :study_id)
"""
_ENDED_QUERY = """
    SELECT COUNT(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED', 'FAIL') AND study_id IN
        (SELECT study_id FROM study_user_attributes WHERE key = :key AND value_json = :study_id)
"""
# Trials whose run is complete in the study's experiment, in its present folder of artifacts.
_COPIED_QUERY = """
    SELECT trial.value, copied.value FROM runs
        JOIN tags AS trial ON trial.run_uuid = runs.run_uuid AND trial.key = :trial_key
        JOIN tags AS copied ON copied.run_uuid = runs.run_uuid AND copied.key = :copied_key
        JOIN experiments USING (experiment_id)
        JOIN experiment_tags AS study USING (experiment_id)
    WHERE study.key = :key AND study.value = :study_id AND runs.lifecycle_stage = 'active'
        AND experiments.lifecycle_stage = 'active' AND experiments.artifact_location = :artifacts
"""
_STUDY_RUN_QUERY = """
    SELECT 1 FROM runs JOIN tags USING (run_uuid)
        JOIN experiment_tags AS study USING (experiment_id)
    WHERE study.key = :key AND study.value = :study_id AND runs.lifecycle_stage = 'active'
        AND tags.key = :role_key AND tags.value = 'study' AND runs.status = 'FINISHED'
"""

_EXPERIMENT_QUERY = """
    SELECT experiment_id FROM experiments JOIN experiment_tags USING (experiment_id)
    WHERE key = :key AND value = :study_id AND lifecycle_stage = 'active'
"""
_STUDY_QUERY = """
    SELECT study_id FROM study_user_attributes WHERE key = :key AND value_json = :study_id
"""


def has_optuna_study(database: Path, study_id: str) -> bool:
    """True if Optuna's file contains the study with this id."""
    values = {"key": STUDY_ID_ATTR, "study_id": f'"{study_id}"'}
    return bool(_rows(database, _STUDY_QUERY, values))


def find_experiment_id(database: Path, study_id: str) -> str | None:
    """Id of a study's experiment in an MLflow file; None if the file has none."""
    rows = _rows(database, _EXPERIMENT_QUERY, {"key": STUDY_TAG, "study_id": study_id})
    return str(rows[0][0]) if rows else None


def refuse_taken_name(
    location: StorageLocation, store: TrackingStore, name: str, study_id: str
) -> None:
    """Refuse the name of a new study if a SQLite file has another study of that name.

    Databases on servers, locked and damaged files are left to `check_name_is_free`.

    Raises:
        UserError: the name belongs to another study or to a deleted experiment.
    """
    if isinstance(location, Path) and _is_taken(location, name, study_id):
        raise taken_name_error(storage_url(location), name)
    if store.file is not None and may_conflict(store.file, store.experiment, study_id):
        from harness.tracking.client import check_experiment  # noqa: PLC0415  # imports mlflow

        check_experiment(store, study_id, lambda line: None)


def are_up_to_date(
    location: StorageLocation,
    store: TrackingStore,
    name: str,
    study_id: str,
    records: Sequence[TrialRecord],
) -> bool:
    """True if both files hold every trial of a study whose trials have all ended.

    False also where that cannot be seen: databases on servers, other tables, locked files.
    """
    if not isinstance(location, Path) or store.file is None or store.artifacts is None:
        return False
    optuna_study = {"key": STUDY_ID_ATTR, "study_id": f'"{study_id}"'}
    if _rows(location, _ENDED_QUERY, optuna_study) != [(len(records),)]:
        return False
    experiment = {"key": STUDY_TAG, "study_id": study_id}
    keys = {"trial_key": TRIAL_TAG, "copied_key": COPIED_TAG, "artifacts": store.artifacts}
    copied = _rows(store.file, _COPIED_QUERY, experiment | keys)
    own = {(f"{name}/{r.number}", r.ended) for r in records if r.imported is None}
    is_closed = bool(_rows(store.file, _STUDY_RUN_QUERY, experiment | {"role_key": ROLE_TAG}))
    return is_closed and own <= set(copied)


def taken_name_error(url: str, name: str) -> UserError:
    """Error for a name that another study has in Optuna's database."""
    return UserError(
        f"{url} contains another study named {name}, whose folder was removed, replaced or moved; "
        f"choose another --study, or remove it with: optuna delete-study --study-name {name} "
        f"--storage {url}"
    )


def _is_taken(database: Path, name: str, study_id: str) -> bool:
    values = {"name": name, "key": STUDY_ID_ATTR, "study_id": f'"{study_id}"'}
    return bool(_rows(database, _TAKEN_QUERY, values))


def may_conflict(database: Path, name: str, study_id: str) -> bool:
    """True if an experiment of this name is not this study's, or if this study's was deleted."""
    values = {"name": name, "key": STUDY_TAG, "study_id": study_id}
    return bool(_rows(database, _CONFLICT_QUERY, values))


def _rows(database: Path, query: str, values: dict[str, str]) -> list[tuple[Any, ...]]:
    """Rows of a query; [] if the file cannot be read, which the libraries report."""
    # sqlite3.connect would create an empty file.
    if not database.exists():
        return []
    try:
        with closing(sqlite3.connect(database, timeout=_LOCK_TIMEOUT_S)) as connection:
            return connection.execute(query, values).fetchall()
    except sqlite3.Error:  # no tables yet, damaged or locked
        return []
