"""Rename a study: its folder, its records, Optuna's studies, and everything that MLflow holds."""

from harness.config.study_files import require_study_yaml
from harness.core.errors import UserError
from harness.core.paths import StudyPaths, Workspace
from harness.core.records import read_record, read_records, write_record
from harness.core.study_lock import hold_study_lock
from harness.maintenance.indexes import IndexOptions, StudyIndexes, find_copy
from harness.maintenance.operations import (
    PendingOperation,
    begin_operation,
    end_operation,
    move_folder,
)


def rename_study(workspace: Workspace, old: str, new: str, options: IndexOptions) -> StudyPaths:
    """Rename a study, after everything that may refuse it was asked.

    Args:
        workspace: the workspace; interrupted operations on both names have been completed.
        old: present name.
        new: next name.
        options: where the indexes are.

    Returns:
        The folder under its new name.

    Raises:
        UserError: the study runs, a name is wrong, or the new one is taken; nothing has changed.
        HarnessError: an index failed; the same command completes the rename.
    """
    paths, target = workspace.study(old), workspace.study(new)
    require_study_yaml(paths)
    if target.root.exists():
        raise UserError(f"study {new}: {target.root} exists already; choose another name")
    with hold_study_lock(paths):
        for folder in (paths, paths.confirm):
            read_records(folder)  # a damaged record would end the rename halfway
        if (copy := find_copy(workspace, paths)) is not None:
            raise UserError(
                f"study {old} has the id of study {copy.name}: one folder is a copy of the other, "
                "and both have the same entries in Optuna and MLflow; delete one of them first"
            )
        StudyIndexes(workspace, paths, options).check_names_free(new)
        operation = PendingOperation(
            action="rename",
            study=old,
            target=new,
            storage=options.storage,
            tracking_uri=options.tracking_uri,
        )
        begin_operation(paths, operation)
        try:
            move_folder(paths.root, target.root)
        except UserError:
            end_operation(paths)
            raise
        finish_rename(workspace, target, options)
    return target


def finish_rename(workspace: Workspace, paths: StudyPaths, options: IndexOptions) -> None:
    """Bring records and indexes up to date after the folder was renamed; holds the lock."""
    write_study_name(paths)
    StudyIndexes(workspace, paths, options).rename(paths.name)
    end_operation(paths)


def write_study_name(paths: StudyPaths, name: str | None = None) -> None:
    """Write the name of the folder, or another one, into the records of all trials."""
    for folder in (paths, paths.confirm):
        own_name = folder.name if name is None else folder.name.replace(paths.name, name, 1)
        for trial in folder.all_trials():
            record = read_record(trial.trial_json)
            if record.study != own_name:
                write_record(trial, record.model_copy(update={"study": own_name}))
