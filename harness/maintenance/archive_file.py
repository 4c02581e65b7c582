"""Archive of a study: a plain tar file whose first member lists all others with their hashes.

It is not compressed: weights and PNG hardly shrink, and so no small file can unpack to a large one.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.config.study_files import read_study_config
from harness.core.errors import DataError, UserError
from harness.core.paths import STUDY_NAME, StudyPaths
from harness.core.records import read_records
from harness.maintenance.indexes import read_study_id

LIST_NAME = "archive.json"
_MAX_LIST_BYTES = 100_000_000
MAX_MEMBERS = 1_000_000
MAX_DEPTH = 20  # folders; those of a study are 6 deep, and Python removes 1000 at most
# No separators of other systems and no control characters; at most NAME_MAX characters.
_SAFE_PART = re.compile(r"[^\\/:\x00-\x1f\x7f]{1,255}")


class ArchivedFile(BaseModel):
    """Size in bytes and SHA-256 of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    size: int = Field(ge=0)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ArchiveList(BaseModel):
    """First member of an archive.

    Attributes:
        study: name of the study; `id` is None if it has never run.
        files: its files by path within its folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    study: str
    id: str | None
    created: str
    has_weights: bool
    files: dict[str, ArchivedFile]

    def as_bytes(self) -> bytes:
        """JSON of the first member."""
        return json.dumps(self.model_dump(mode="json"), indent=1).encode()


def read_archive_list(archive: tarfile.TarFile, path: Path) -> ArchiveList:
    """Read and check the first member of an archive.

    Raises:
        DataError: the file is no archive of harness, or names a path that could leave the folder.
    """
    member = archive.next()
    if member is None or member.name != LIST_NAME or not member.isreg():
        raise DataError(f"{path}: not an archive of harness: its first member is not {LIST_NAME}")
    if member.size > _MAX_LIST_BYTES:
        raise DataError(f"{path}: {LIST_NAME} is larger than {_MAX_LIST_BYTES // 10**6} MB")
    handle = archive.extractfile(member)
    assert handle is not None, "a regular member"
    try:
        listed = ArchiveList.model_validate_json(handle.read())
    except ValidationError as error:
        raise DataError(f"{path}: {LIST_NAME} is damaged: {error.errors()[0]['msg']}") from error
    _check_list(listed, path)
    return listed


def _check_list(listed: ArchiveList, path: Path) -> None:
    if not STUDY_NAME.fullmatch(listed.study):
        raise DataError(f"{path}: {listed.study!r} is not the name of a study")
    if len(listed.files) > MAX_MEMBERS:
        raise DataError(f"{path}: lists more than {MAX_MEMBERS} files")
    for name in listed.files:
        if not is_safe_member(name):
            raise DataError(f"{path}: {name!r} is not a path within a study; nothing was unpacked")
    # On some disks `A` and `a` are one file.
    folded = {name.casefold() for name in listed.files}
    folders = {str(parent) for name in folded for parent in PurePosixPath(name).parents}
    if len(folded) < len(listed.files) or folded & folders:
        raise DataError(f"{path}: lists one path twice; nothing was unpacked")
    n_bytes = sum(file.size for file in listed.files.values())
    if n_bytes > path.stat().st_size:
        raise DataError(f"{path}: lists more bytes than it contains; copy the archive again")


def is_safe_member(name: str) -> bool:
    """True for a relative path without `..` that every system reads as the same path."""
    parts = name.split("/")
    return len(parts) <= MAX_DEPTH and all(
        _SAFE_PART.fullmatch(part) and part not in (".", "..") for part in parts
    )


def iter_members(archive: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """Members after the first one.

    Raises:
        DataError: one is not a plain file, or the archive is cut or damaged.
    """
    while True:
        try:
            member = archive.next()
        except (tarfile.TarError, ValueError) as error:  # ValueError: extended headers
            raise DataError(f"{path}: damaged: {error}; copy the archive again") from error
        if member is None:
            return
        # Links, devices and folders are never needed, and sparse files claim sizes that they lack.
        if not member.isreg() or member.sparse is not None:
            raise DataError(f"{path}: {member.name!r} is not a plain file; nothing was unpacked")
        yield member


def check_study_files(paths: StudyPaths, study_id: str | None, message: str) -> None:
    """Refuse files that are not a study with this id, before it is archived and restored.

    Raises:
        DataError: it begins with `message`.
    """
    try:
        if read_study_id(paths) != study_id:
            raise DataError("study.yaml has another id than the archive's list")
        for folder in (paths, paths.confirm):
            if folder.study_yaml.is_file():
                read_study_config(folder)
            read_records(folder)
    except (UserError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{message}: {error}") from error


def add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Append a member with these contents."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
