"""Check that the name of a new study is free in Optuna's database and in MLflow.

The check runs before anything is written, so that a refused study leaves no files behind. It
stands alone because it is the only place where storage and tracking meet.
"""

from collections.abc import Callable

from harness.core.errors import TrackingError
from harness.search.storage.location import StorageLocation
from harness.search.storage.optuna_study import find_optuna_study
from harness.search.storage.sqlite_lookup import may_conflict
from harness.search.storage.storage import open_storage
from harness.tracking.uri import TrackingStore


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
    if store.file is not None and not may_conflict(store.file, store.experiment, study_id):
        return  # one SQL query instead of importing mlflow, which takes seconds
    from harness.tracking.client import check_experiment  # noqa: PLC0415  # imports mlflow

    try:
        check_experiment(store, study_id, log)
    except TrackingError:
        return  # the mirror reports it, and training continues
