"""Complete the operation on a study that was killed, before anything else is done with it."""

from harness.core.errors import HarnessError
from harness.core.paths import StudyPaths, Workspace
from harness.core.study_lock import hold_study_lock, is_study_locked
from harness.maintenance.delete import finish_deletion
from harness.maintenance.indexes import IndexOptions, Log
from harness.maintenance.operations import (
    OPERATION_FILE,
    PendingOperation,
    deleted_folders,
    end_operation,
    read_operation,
)
from harness.maintenance.rename import finish_rename


def has_operation(workspace: Workspace, name: str) -> bool:
    """True if an operation on a study of this name was begun and not completed."""
    return any(_folders_in_place(workspace, name)) or any(deleted_folders(workspace, name))


def complete_operations(workspace: Workspace, name: str, log: Log) -> list[PendingOperation]:
    """Complete the deletion, the rename or the restoring of a study that was killed.

    Nothing is done while another process works on it.

    Returns:
        Operations that were completed now.

    Raises:
        HarnessError: an index failed; the next command tries again.
    """
    completed = []
    for moved in deleted_folders(workspace, name):
        if not is_study_locked(moved):
            completed.append(_complete_deletion(workspace, moved, log))
    for paths in _folders_in_place(workspace, name):
        if not is_study_locked(paths):
            completed.append(_complete_in_place(workspace, paths, log))
    return [operation for operation in completed if operation is not None]


def try_to_complete(workspace: Workspace, name: str, log: Log) -> None:
    """Complete as `complete_operations`; an index that fails is a message, not an error."""
    try:
        if has_operation(workspace, name):
            complete_operations(workspace, name, log)
    except HarnessError as error:
        log(f"an interrupted operation on study {name} is not complete: {error}")


def _folders_in_place(workspace: Workspace, name: str) -> list[StudyPaths]:
    """Studies with an operation that names them so: before it, after it, or now."""
    folders = []
    for path in sorted(workspace.studies.glob(f"*/{OPERATION_FILE}")):
        paths = StudyPaths(path.parent)
        operation = read_operation(paths)
        if operation is not None and name in (paths.name, operation.study, operation.target):
            folders.append(paths)
    return folders


def _complete_deletion(
    workspace: Workspace, moved: StudyPaths, log: Log
) -> PendingOperation | None:
    operation = read_operation(moved)
    with hold_study_lock(moved):
        finish_deletion(workspace, moved, _options(operation), log)
    return operation


def _complete_in_place(
    workspace: Workspace, paths: StudyPaths, log: Log
) -> PendingOperation | None:
    operation = read_operation(paths)
    if operation is not None and operation.action == "restore":
        from harness.maintenance.restored_study import finish_restore  # noqa: PLC0415  # NumPy

        finish_restore(workspace, paths, _options(operation), log)
        return operation
    with hold_study_lock(paths):
        operation = read_operation(paths)
        if operation is None:
            return None
        # A folder that has its old name was not moved: the operation was never decided.
        if operation.action == "delete" or operation.target != paths.name:
            end_operation(paths)
            return None
        finish_rename(workspace, paths, _options(operation))
    return operation


def _options(operation: PendingOperation | None) -> IndexOptions:
    if operation is None:
        return IndexOptions()
    return IndexOptions(operation.storage, operation.tracking_uri)
