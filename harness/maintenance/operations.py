"""Operations on whole studies that survive a kill at any moment.

The only step that decides is the rename of a folder, which happens whole or not at all. Before it,
a file in that folder names the operation; after it, databases follow, and the file is removed last.
So a folder with the file and its new place is completed by the next command on that study, and a
file in a folder that was not moved stands for nothing.
"""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.core import files
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths, Workspace

OPERATION_FILE = ".operation.json"
_SEPARATOR = "@"  # is in no study name


class PendingOperation(BaseModel):
    """Operation that has begun.

    Attributes:
        study: name of the study before it; for a restored one the name in its archive.
        target: name after it; that of a deleted study stays.
        storage, tracking_uri: options of the command; None: the workspace's own.
        archive: SHA-256 of the restored archive's list of files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    action: Literal["rename", "delete", "restore"]
    study: str
    target: str
    storage: str | None = None
    tracking_uri: str | None = None
    archive: str | None = None


def begin_operation(paths: StudyPaths, operation: PendingOperation) -> None:
    """Write the file that names the operation."""
    files.write_json(paths.root / OPERATION_FILE, operation.model_dump(mode="json"))


def read_operation(paths: StudyPaths) -> PendingOperation | None:
    """Operation that has begun in a folder; None without one.

    Raises:
        ConfigError: the file is damaged.
    """
    path = paths.root / OPERATION_FILE
    try:
        return PendingOperation.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ConfigError(f"{path}: not an operation; remove this file: {error}") from error


def end_operation(paths: StudyPaths) -> None:
    """Remove the file: the operation is complete, or was never decided. Holds the lock."""
    files.remove_temporary_files(paths.root)  # of a command that was killed
    (paths.root / OPERATION_FILE).unlink(missing_ok=True)


def move_folder(source: Path, target: Path) -> None:
    """Rename a folder, and write that to disk.

    Raises:
        UserError: the target has contents: another command has written it meanwhile.
        OSError: it is on another disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise UserError(f"{target}: was written by another command meanwhile") from error
        raise
    for folder in {source.parent, target.parent}:
        files.fsync_folder(folder)


def deleted_folder(workspace: Workspace, name: str, token: str) -> StudyPaths:
    """Place of a study that is being deleted, outside the reach of all other commands."""
    return StudyPaths(workspace.studies / ".deleted" / f"{name}{_SEPARATOR}{token}")


def staging_folder(workspace: Workspace, name: str, token: str) -> StudyPaths:
    """Place in which an archive is unpacked."""
    return StudyPaths(workspace.studies / ".restoring" / f"{name}{_SEPARATOR}{token}")


def deleted_folders(workspace: Workspace, name: str | None = None) -> list[StudyPaths]:
    """Studies whose deletion was interrupted, of one name or of all."""
    return list(_named_folders(workspace.studies / ".deleted", name))


def staging_folders(workspace: Workspace, name: str | None = None) -> list[StudyPaths]:
    """Folders into which archives are or were unpacked, of one name or of all."""
    return list(_named_folders(workspace.studies / ".restoring", name))


def folder_study(paths: StudyPaths) -> str:
    """Name of the study in such a folder."""
    return paths.root.name.rpartition(_SEPARATOR)[0]


def _named_folders(parent: Path, name: str | None) -> Iterator[StudyPaths]:
    if not parent.is_dir():
        return
    for folder in sorted(parent.iterdir()):
        paths = StudyPaths(folder)
        if folder.is_dir() and not folder.is_symlink() and name in (None, folder_study(paths)):
            yield paths
