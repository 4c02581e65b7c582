"""The name of a new study must be free in Optuna's database and in MLflow.

That is looked up before anything is written, so that no half-begun study is left behind.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from harness.errors import TrackingError
from harness.search.relocation import STUDY_TAG
from harness.search.storage import Where, open_storage
from harness.search.study import find_study
from harness.search.tracker import Tracker

_PATIENCE_S = 5.0  # for a locked mlflow.db: the mirror waits longer, and stops no study
_TAKEN = """
    SELECT 1 FROM experiments WHERE (name = :name AND experiment_id NOT IN
        (SELECT experiment_id FROM experiment_tags WHERE key = :key AND value = :study_id))
    OR (lifecycle_stage <> 'active' AND experiment_id IN
        (SELECT experiment_id FROM experiment_tags WHERE key = :key AND value = :study_id))
"""


def refuse_taken(
    where: Where, tracker: Tracker, name: str, study_id: str, say: Callable[[str], None]
) -> None:
    """Refuse to begin a study under a name that another one has; nothing is written for it.

    Args:
        where: the database of Optuna's index; a file is made if it is absent.
        name: of the study as Optuna will know it.
        study_id: of the study that MLflow will know.

    Raises:
        UserError: the name is another study's, or a deleted experiment's; or the index cannot be
            written. A store of MLflow that does not answer refuses nothing.
    """
    find_study(open_storage(where, say), name, study_id)
    if tracker.file is not None and not _may_be_taken(tracker.file, tracker.experiment, study_id):
        return  # without mlflow, whose import takes seconds
    from harness.search.tracking.store import check_experiment  # noqa: PLC0415  # brings mlflow

    try:
        check_experiment(tracker, study_id, say)
    except TrackingError:
        return  # the mirror says so, and training goes on


def _may_be_taken(database: Path, name: str, study_id: str) -> bool:
    """Whether an experiment of that name is not this study's, or this study's was deleted."""
    if not database.exists():
        return False
    wanted = {"name": name, "key": STUDY_TAG, "study_id": study_id}
    try:
        with closing(sqlite3.connect(database, timeout=_PATIENCE_S)) as connection:
            return connection.execute(_TAKEN, wanted).fetchone() is not None
    except sqlite3.Error:  # no tables yet, damaged or locked: the mirror deals with it
        return False
