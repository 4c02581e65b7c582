"""Entries of a study in Optuna's database: free names, rename, removal, whatever its name there."""

from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from harness.search.storage.location import StorageLocation
from harness.search.storage.optuna_study import (
    find_optuna_study,
    rename_optuna_study,
    unfinished_name,
)
from harness.search.storage.storage import open_storage, stop_on_database_error


def check_names_free(location: StorageLocation, names: Mapping[str, str]) -> None:
    """Refuse names that other studies have.

    Args:
        location: the database; a file that does not exist has no studies.
        names: new name by id of a study.

    Raises:
        UserError: another study has one of the names, or the database cannot be opened.
        StudyStoppedError: the database failed.
    """
    if (storage := _open_existing(location)) is None:
        return
    with stop_on_database_error(location):
        existing = set(optuna.get_all_study_names(storage))
        for study_id, name in names.items():
            if name in existing:
                find_optuna_study(storage, name, study_id)


def rename_entries(location: StorageLocation, names: Mapping[str, str]) -> None:
    """Give studies the names of their folders; a repeated call changes nothing.

    Args:
        location: as in `check_names_free`.
        names: name by id of a study; studies that the database lacks are left out.

    Raises:
        UserError, StudyStoppedError: as in `check_names_free`.
    """
    if (storage := _open_existing(location)) is None:
        return
    with stop_on_database_error(location):
        for study_id, name in names.items():
            if (study := find_optuna_study(storage, name, study_id)) is not None:
                rename_optuna_study(storage, study, name)


def delete_entries(location: StorageLocation, names: Mapping[str, str]) -> None:
    """Remove studies by their ids; a repeated call changes nothing.

    Args:
        location: as in `check_names_free`.
        names: last known name by id of a study.

    Raises:
        UserError, StudyStoppedError: the database cannot be opened, or failed.
    """
    if (storage := _open_existing(location)) is None:
        return
    with stop_on_database_error(location):
        for study_id in names:
            # An empty name belongs to no study, so only the id decides.
            if (study := find_optuna_study(storage, "", study_id)) is not None:
                optuna.delete_study(study_name=study.study_name, storage=storage)
        # Left by a command that was killed while it created the study.
        for name in {unfinished_name(study_id) for study_id in names}:
            if name in optuna.get_all_study_names(storage):
                optuna.delete_study(study_name=name, storage=storage)


def _open_existing(location: StorageLocation) -> RDBStorage | None:
    """Open the database; None if it is a file that does not exist, which would be created."""
    if isinstance(location, Path) and not location.exists():
        return None
    return open_storage(location)
