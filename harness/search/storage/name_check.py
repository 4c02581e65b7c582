"""Check that the name of a new study is free in Optuna's database and in MLflow.

The check runs before anything is written, so that a refused study leaves no files behind. It
stands alone because it is the only place where storage and tracking meet.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from harness.core.errors import TrackingError
from harness.search.storage.location import StorageLocation
from harness.search.storage.optuna_study import find_optuna_study
from harness.search.storage.storage import open_storage
from harness.tracking.relocation import STUDY_TAG
from harness.tracking.uri import TrackingStore

# A locked mlflow.db must not delay the start: the mirror retries later in its own thread.
_LOCK_TIMEOUT_S = 5.0
# True if an experiment of this name belongs to another study, or if this study's was deleted.
_CONFLICT_QUERY = """
    SELECT 1 FROM experiments WHERE (name = :name AND experiment_id NOT IN
        (SELECT experiment_id FROM experiment_tags WHERE key = :key AND value = :study_id))
    OR (lifecycle_stage <> 'active' AND experiment_id IN
        (SELECT experiment_id FROM experiment_tags WHERE key = :key AND value = :study_id))
"""


def check_name_is_free(
    location: StorageLocation,
    store: TrackingStore,
    name: str,
    study_id: str,
    log: Callable[[str], None],
) -> None:
    """Refuse a new study whose name another study uses already.

    Args:
        location: database of Optuna; a SQLite file is created if it is absent.
        store: MLflow store. If it does not answer, the name counts as free.
        name: name of the new study.
        study_id: id of the new study.
        log: takes one line about a damaged database.

    Raises:
        UserError: the name belongs to another study or to a deleted experiment, or Optuna's
            database cannot be written.
    """
    find_optuna_study(open_storage(location, log), name, study_id)
    if store.file is not None and not _may_conflict(store.file, store.experiment, study_id):
        return  # one SQL query instead of importing mlflow, which takes seconds
    from harness.tracking.client import check_experiment  # noqa: PLC0415  # imports mlflow

    try:
        check_experiment(store, study_id, log)
    except TrackingError:
        return  # the mirror reports it, and training continues


def _may_conflict(database: Path, name: str, study_id: str) -> bool:
    """True if an experiment of this name is not this study's, or if this study's was deleted."""
    # sqlite3.connect would create an empty file.
    if not database.exists():
        return False
    query_values = {"name": name, "key": STUDY_TAG, "study_id": study_id}
    try:
        with closing(sqlite3.connect(database, timeout=_LOCK_TIMEOUT_S)) as connection:
            return connection.execute(_CONFLICT_QUERY, query_values).fetchone() is not None
    except sqlite3.Error:  # no tables yet, damaged or locked: handled by the mirror
        return False
