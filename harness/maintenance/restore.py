"""Restore a study from its archive, which may come from a stranger.

Everything is unpacked and checked in another folder, whose rename makes it a study. No code of the
archive is executed.
"""

import secrets
import shutil
import tarfile
from pathlib import Path

from harness.core import files
from harness.core.errors import DataError, UserError
from harness.core.paths import StudyPaths, Workspace, check_study_name
from harness.core.study_lock import hold_study_lock, is_study_locked
from harness.maintenance.archive_file import (
    ArchiveList,
    check_study_files,
    iter_members,
    read_archive_list,
)
from harness.maintenance.complete import complete_operations
from harness.maintenance.indexes import (
    IndexOptions,
    Log,
    StudyIndexes,
    find_study_of_id,
)
from harness.maintenance.operations import (
    OPERATION_FILE,
    PendingOperation,
    begin_operation,
    folder_study,
    move_folder,
    staging_folder,
    staging_folders,
)
from harness.maintenance.rename import write_study_name
from harness.maintenance.restored_study import finish_restore, remove_empty_parent

_CHUNK = 1 << 20
_SPARE_BYTES = 100_000_000  # of the disk, for databases


def restore_study(
    workspace: Workspace, archive: Path, name: str | None, options: IndexOptions, log: Log
) -> StudyPaths:
    """Unpack the archive of a study, and enter it in both indexes.

    Args:
        workspace: the workspace; interrupted operations on the name have been completed.
        archive: file that `harness archive` has written.
        name: another name for the study; None: the one in the archive.
        options: where the indexes are.
        log: takes one line about each repair, and about an index that does not answer.

    Returns:
        The folder of the study.

    Raises:
        UserError: the archive is damaged or hostile, or the name or the study exists already.
    """
    with open_archive(archive) as tar:
        listed = read_archive_list(tar, archive)
        paths = workspace.study(check_study_name(name or listed.study))
        _refuse_existing(workspace, paths, listed)
        _check_space(workspace, listed)
        _remove_leftovers(workspace, paths.name)
        staging = staging_folder(workspace, paths.name, secrets.token_hex(4))
        try:
            with hold_study_lock(staging):
                try:
                    _unpack(tar, archive, listed, staging)
                except (tarfile.TarError, EOFError) as error:
                    raise DataError(
                        f"{archive}: is cut or damaged ({error}); copy it again"
                    ) from error
                check_study_files(staging, listed.id, f"{archive}: does not contain a study")
                # Another command may have restored the study meanwhile, or be about to.
                _refuse_existing(workspace, paths, listed, staging)
                write_study_name(staging, paths.name)
                StudyIndexes(workspace, staging, options).check_names_free(paths.name)
                operation = PendingOperation(
                    action="restore",
                    study=listed.study,
                    target=paths.name,
                    storage=options.storage,
                    tracking_uri=options.tracking_uri,
                    archive=archive_digest(listed),
                )
                begin_operation(staging, operation)
                move_folder(staging.root, paths.root)
        finally:
            shutil.rmtree(staging.root, ignore_errors=True)
            remove_empty_parent(staging)
    finish_restore(workspace, paths, options, log)
    return paths


def restore_again(
    workspace: Workspace, archive: Path, name: str | None, log: Log
) -> StudyPaths | None:
    """Complete an earlier call for the same archive and name that was killed; None without one."""
    with open_archive(archive) as tar:
        listed = read_archive_list(tar, archive)
    paths = workspace.study(check_study_name(name or listed.study))
    for operation in complete_operations(workspace, paths.name, log):
        if operation.action == "restore" and operation.archive == archive_digest(listed):
            return paths
    return None


def open_archive(archive: Path) -> tarfile.TarFile:
    """Open an archive. Raises DataError if it is none."""
    try:
        return tarfile.open(archive, "r:")
    except (tarfile.TarError, ValueError, OSError) as error:
        raise DataError(f"{archive}: cannot be read as an archive: {error}") from error


def archive_digest(listed: ArchiveList) -> str:
    """SHA-256 that identifies the contents of an archive."""
    return files.combine_sha256([file.sha256 for file in listed.files.values()])


def _refuse_existing(
    workspace: Workspace, paths: StudyPaths, listed: ArchiveList, staging: StudyPaths | None = None
) -> None:
    """Refuse a name or a study that exists, or that another process restores now."""
    if paths.root.exists():
        raise UserError(
            f"study {paths.name}: {paths.root} exists already; choose another name with --as"
        )
    # In this order: a study that is being restored goes from the first place to the second one.
    unpacked = [
        other
        for other in staging_folders(workspace)
        if staging is not None and other.root != staging.root and is_study_locked(other)
    ]
    restored = (StudyPaths(path.parent) for path in sorted(workspace.studies.glob("*/study.yaml")))
    other = find_study_of_id(unpacked, listed.id) or find_study_of_id(restored, listed.id)
    if other is not None:
        name = folder_study(other) if other in unpacked else other.name
        raise UserError(
            f"this study is in the workspace already, as {name} (id {listed.id}); both would have "
            "the same entries in Optuna and MLflow, so restore it into another --workspace"
        )


def _check_space(workspace: Workspace, listed: ArchiveList) -> None:
    folder = workspace.studies
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(file.size for file in listed.files.values()) + _SPARE_BYTES
    if (free := shutil.disk_usage(folder).free) < needed:
        raise UserError(
            f"{folder}: the archive needs {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
        )


def _unpack(tar: tarfile.TarFile, archive: Path, listed: ArchiveList, staging: StudyPaths) -> None:
    """Write every listed file, and compare its hash."""
    missing = dict(listed.files)
    for member in iter_members(tar, archive):
        entry = missing.pop(member.name, None)
        if entry is None or entry.size != member.size:
            raise DataError(f"{archive}: {member.name!r} is not as listed; nothing was restored")
        if member.name in (OPERATION_FILE, staging.lock.name):
            raise DataError(f"{archive}: {member.name!r} must not be in an archive")
        target = staging.root / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = tar.extractfile(member)
        assert handle is not None, "a regular member"
        # "x": each path is new, as the folder is.
        with handle, target.open("xb") as out:
            shutil.copyfileobj(handle, out, _CHUNK)
        if files.file_sha256(target) != entry.sha256:
            raise DataError(f"{archive}: {member.name} is damaged (wrong SHA-256); copy it again")
    if missing:
        raise DataError(f"{archive}: {next(iter(missing))} is missing; copy the archive again")


def _remove_leftovers(workspace: Workspace, name: str) -> None:
    """Remove folders of killed commands that restored the same name."""
    for paths in staging_folders(workspace, name):
        if not is_study_locked(paths):
            shutil.rmtree(paths.root)
