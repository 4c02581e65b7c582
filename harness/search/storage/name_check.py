"""The name of a new study must be free in Optuna's database and in MLflow.

That is looked up before anything is written, so that no half-begun study is left behind.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from harness.core.errors import TrackingError
from harness.search.storage.optuna_study import find_optuna_study
from harness.search.storage.storage import StorageLocation, open_storage
from harness.tracking.relocation import STUDY_TAG
from harness.tracking.uri import TrackingStore

_LOCK_TIMEOUT_S = 5.0  # for a locked mlflow.db: the mirror waits longer, and stops no study
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
    """Refuse to begin a study under a name that another one has; nothing is written for it.

    Args:
        location: the database of Optuna's index; a file is made if it is absent.
        name: of the study as Optuna will know it.
        study_id: of the study that MLflow will know.

    Raises:
        UserError: the name is another study's, or a deleted experiment's; or the index cannot be
            written. A store of MLflow that does not answer refuses nothing.
    """
    find_optuna_study(open_storage(location, log), name, study_id)
    if store.file is not None and not _may_conflict(store.file, store.experiment, study_id):
        return  # without mlflow, whose import takes seconds
    from harness.tracking.client import check_experiment  # noqa: PLC0415  # brings mlflow

    try:
        check_experiment(store, study_id, log)
    except TrackingError:
        return  # the mirror says so, and training goes on


def _may_conflict(database: Path, name: str, study_id: str) -> bool:
    """Whether an experiment of that name is not this study's, or this study's was deleted."""
    if not database.exists():
        return False
    query_values = {"name": name, "key": STUDY_TAG, "study_id": study_id}
    try:
        with closing(sqlite3.connect(database, timeout=_LOCK_TIMEOUT_S)) as connection:
            return connection.execute(_CONFLICT_QUERY, query_values).fetchone() is not None
    except sqlite3.Error:  # no tables yet, damaged or locked: the mirror deals with it
        return False
