"""Write the archive of a study: one file, complete or absent."""

import hashlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from harness.config.study_files import require_study_yaml
from harness.core import files
from harness.core.errors import UserError
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.study_lock import hold_study_lock
from harness.core.timestamps import utc_timestamp
from harness.maintenance.archive_file import (
    LIST_NAME,
    ArchivedFile,
    ArchiveList,
    add_bytes,
    check_study_files,
    is_safe_member,
)
from harness.maintenance.indexes import read_study_id
from harness.maintenance.operations import OPERATION_FILE

ARCHIVE_SUFFIX = ".harness.tar"


def archive_study(paths: StudyPaths, target: Path, *, weights: bool = True) -> ArchiveList:
    """Write all files of a study into one file.

    The study is locked meanwhile. Left out are files that belong to this machine: the lock, what
    waits to be sent to MLflow, and temporary files.

    Args:
        paths: folder of the study.
        target: the archive; absent.
        weights: include models and checkpoints; the report needs neither.

    Returns:
        The list of files with their hashes.

    Raises:
        UserError: the study runs, is damaged or does not exist, the archive exists, or a file is a
            link.
    """
    require_study_yaml(paths)
    if target.exists():
        raise UserError(f"{target}: exists already; name another file, or remove it")
    if target.absolute().is_relative_to(paths.root.absolute()):
        raise UserError(f"{target}: is within the study's own folder; name a file outside")
    with hold_study_lock(paths):
        _remove_leftovers(target)
        study_id = read_study_id(paths)
        # What `restore` would refuse is not archived: the user may delete the study next.
        check_study_files(paths, study_id, f"study {paths.name} is damaged; repair it first")
        listed = ArchiveList(
            study=paths.name,
            id=study_id,
            created=utc_timestamp("seconds"),
            has_weights=weights,
            files={
                name: ArchivedFile(size=path.stat().st_size, sha256=files.file_sha256(path))
                for name, path in _iter_files(paths, weights=weights)
            },
        )
        with files.atomic_replace(target) as temporary:
            _write_archive(temporary, paths, listed)
    return listed


def _write_archive(path: Path, paths: StudyPaths, listed: ArchiveList) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        add_bytes(archive, LIST_NAME, listed.as_bytes())
        for name, entry in listed.files.items():
            member = tarfile.TarInfo(name)
            member.size = entry.size
            with (paths.root / name).open("rb") as handle:
                reader = HashingReader(handle)
                try:
                    archive.addfile(member, reader)
                except OSError as error:
                    raise UserError(f"{paths.root / name}: changed meanwhile: {error}") from error
            if reader.sha256 != entry.sha256:
                raise UserError(f"{paths.root / name}: changed while it was archived; try again")


class HashingReader:
    """Reader of a file that computes the SHA-256 of all that was read."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle, self._hash = handle, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        data = self._handle.read(size)
        self._hash.update(data)
        return data

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def _iter_files(paths: StudyPaths, *, weights: bool) -> Iterator[tuple[str, Path]]:
    """Path within the study and path of each file to archive, in order of names.

    Raises:
        UserError: a file is a link or no plain file, or its name cannot be restored everywhere.
    """
    skipped = {paths.root / OPERATION_FILE, paths.lock, paths.outbox, paths.confirm.outbox}
    for folder, folders, names in os.walk(paths.root):
        current = Path(folder)
        entries = [current / name for name in names] + [current / name for name in folders]
        for path in entries:
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise UserError(
                    f"{path}: is a link or a device, which an archive must not contain; replace it "
                    "by its file"
                )
        folders[:] = sorted(
            name
            for name in folders
            if current / name not in skipped and (weights or not _is_model(current / name))
        )
        for path in sorted(current / name for name in names):
            name = path.relative_to(paths.root).as_posix()
            is_temporary = files.TEMPORARY_NAME.fullmatch(path.name) is not None
            if path in skipped or is_temporary or (not weights and _is_checkpoint(path)):
                continue
            if not is_safe_member(name):
                raise UserError(f"{path}: this name cannot be restored on every system; rename it")
            yield name, path


def _is_model(folder: Path) -> bool:
    trial = TrialPaths(folder.parent.parent)
    return folder == trial.model and trial.trial_json.is_file()


def _is_checkpoint(path: Path) -> bool:
    trial = TrialPaths(path.parent)
    return path in (trial.checkpoint, trial.checkpoint_previous) and trial.trial_json.is_file()


def _remove_leftovers(target: Path) -> None:
    """Remove what a killed command for the same file has left."""
    for path in target.parent.glob(".*.tmp"):
        match = files.TEMPORARY_NAME.fullmatch(path.name)
        if match is not None and match[1] == target.name and not path.is_symlink():
            path.unlink(missing_ok=True)
