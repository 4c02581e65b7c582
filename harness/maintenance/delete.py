"""Delete a study: its folder, Optuna's studies, and everything that MLflow holds."""

import secrets
import shutil
from contextlib import suppress

from harness.config.study_files import require_study_yaml
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths, Workspace
from harness.core.study_lock import hold_study_lock
from harness.maintenance.indexes import (
    IndexOptions,
    Log,
    StudyIndexes,
    find_copy,
    read_study_id,
)
from harness.maintenance.operations import (
    OPERATION_FILE,
    PendingOperation,
    begin_operation,
    deleted_folder,
    move_folder,
)


def delete_study(workspace: Workspace, name: str, options: IndexOptions, log: Log) -> None:
    """Delete a study. It is gone for all commands as soon as its folder was moved aside.

    Args:
        workspace: the workspace; interrupted operations on the name have been completed.
        name: name of the study.
        options: where the indexes are.
        log: takes one line about each repair.

    Raises:
        UserError: the study runs or does not exist, or an index cannot be opened; nothing has
            changed.
        HarnessError: an index failed; the same command completes the deletion.
    """
    paths = workspace.study(name)
    require_study_yaml(paths)
    if paths.root.is_symlink():
        raise UserError(
            f"{paths.root} is a link to {paths.root.resolve()}; remove the link and that folder "
            "yourself"
        )
    with hold_study_lock(paths):
        try:
            read_study_id(paths)
        except ConfigError as error:
            raise UserError(
                f"{error}\nrepair it: the entries in Optuna and MLflow are found by the id in "
                f"study.yaml; or remove the folder {paths.root} yourself"
            ) from error
        # The study's own name is free for it: this asks only whether both indexes answer.
        StudyIndexes(workspace, paths, options).check_names_free(name)
        operation = PendingOperation(
            action="delete",
            study=name,
            target=name,
            storage=options.storage,
            tracking_uri=options.tracking_uri,
        )
        begin_operation(paths, operation)
        moved = deleted_folder(workspace, name, secrets.token_hex(4))
        move_folder(paths.root, moved.root)
        finish_deletion(workspace, moved, options, log)


def finish_deletion(
    workspace: Workspace, moved: StudyPaths, options: IndexOptions, log: Log
) -> None:
    """Remove the entries of a study that was moved aside, then its files; holds the lock."""
    if moved.study_yaml.is_file():
        if (copy := find_copy(workspace, moved)) is None:
            StudyIndexes(workspace, moved, options).delete(log)
        else:
            log(f"the entries in Optuna and MLflow stay: they are those of study {copy.name}, too")
    # Entries come first, and the file that says so last, with the lock.
    for path in moved.root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (OPERATION_FILE, moved.lock.name):
            path.unlink()
    shutil.rmtree(moved.root)
    with suppress(OSError):  # another study is being deleted
        moved.root.parent.rmdir()
