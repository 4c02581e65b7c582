"""Archives of strangers: nothing leaves the folder, nothing is left behind, nothing is executed."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import UserError
from harness.core.paths import StudyPaths, Workspace
from harness.core.study_lock import hold_study_lock
from harness.maintenance import restore, restored_study
from harness.maintenance.archive import archive_study
from harness.maintenance.indexes import IndexOptions
from harness.maintenance.restore import restore_study
from tests.report.studies import a_study

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Archive of a study, in a folder that is no workspace."""
    target = tmp_path / "made.tar"
    archive_study(a_study(tmp_path / "source").paths, target)
    return target


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace; both indexes are left out here."""
    monkeypatch.setattr(restored_study, "_enter_in_optuna", lambda *_: None)
    monkeypatch.setattr(restored_study, "_enter_in_mlflow", lambda *_: None)
    (tmp_path / "w").mkdir()
    return Workspace.at(tmp_path / "w")


def members_of(path: Path) -> Members:
    with tarfile.open(path) as archive:
        found = []
        for member in archive:
            handle = archive.extractfile(member)
            found.append((member, b"" if handle is None else handle.read()))
        return found


def write(path: Path, members: Members) -> None:
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data) if member.isreg() else None)


def listed(members: Members, change: Callable[[dict[str, Any]], None]) -> Members:
    """The same with a changed list of files."""
    value = json.loads(members[0][1])
    change(value)
    data = json.dumps(value).encode()
    member = tarfile.TarInfo("archive.json")
    member.size = len(data)
    return [(member, data), *members[1:]]


def added(
    members: Members, name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE
) -> Members:
    """The same with one more member, which the list names."""
    entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    more = listed(members, lambda value: value["files"].update({name: entry}))
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(data), kind, "/etc/passwd"
    if kind != tarfile.REGTYPE:
        member.size = 0
    return [*more, (member, data)]


def refused(workspace: Workspace, path: Path, message: str, name: str | None = None) -> None:
    with pytest.raises(UserError, match=message):
        restore_study(workspace, path, name, IndexOptions(), lambda line: None)
    left = [p for p in workspace.root.rglob("*") if p.is_file()]
    assert left == [], "nothing is left in the workspace"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../x",
            "/x",
            "a/../../x",
            "a//x",
            "./x",
            "a\\..\\x",
            "C:x",
            "x\x00",
            "a\nb",
            "trials/..",
        ),
        *("", "a/" * 1000 + "x"),
    ],
)
def test_path_that_could_leave_the_folder_is_refused(
    place: Workspace, made: Path, name: str
) -> None:
    change = {name: {"size": 1, "sha256": "0" * 64}}
    write(made, listed(members_of(made), lambda value: value["files"].update(change)))
    refused(place, made, "is not a path within a study")
    assert not (place.root.parent / "x").exists()


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
    ],
)
def test_link_device_or_folder_is_refused(place: Workspace, made: Path, kind: bytes) -> None:
    write(made, added(members_of(made), "trials/0000/more", kind=kind))
    refused(place, made, "is not a plain file")


@pytest.mark.parametrize("name", [".operation.json", ".lock"])
def test_file_that_would_start_an_operation_is_refused(
    place: Workspace, made: Path, name: str
) -> None:
    write(made, added(members_of(made), name))
    refused(place, made, "must not be in an archive")


def test_list_that_claims_more_bytes_than_there_are_is_refused(
    place: Workspace, made: Path
) -> None:
    huge = {"bomb": {"size": 10**15, "sha256": "0" * 64}}
    write(made, listed(members_of(made), lambda value: value["files"].update(huge)))
    refused(place, made, "more bytes than it contains")


def test_wrong_hash_is_refused(place: Workspace, made: Path) -> None:
    members = members_of(made)
    member, data = members[-1]
    members[-1] = (member, bytes([data[0] ^ 1]) + data[1:])
    write(made, members)
    refused(place, made, "wrong SHA-256")


def test_missing_unlisted_and_repeated_members_are_refused(place: Workspace, made: Path) -> None:
    members = members_of(made)
    write(made, members[:-1])
    refused(place, made, "is missing")
    write(made, [*members, (tarfile.TarInfo("more"), b"")])
    refused(place, made, "is not as listed")
    write(made, [*members, members[-1]])
    refused(place, made, "is not as listed")


def test_two_paths_that_some_disks_make_one_are_refused(place: Workspace, made: Path) -> None:
    write(made, added(members_of(made), "STUDY.yaml"))
    refused(place, made, "lists one path twice")
    write(made, added(members_of(made), "study.yaml/x"))
    refused(place, made, "lists one path twice")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_archive_is_refused(place: Workspace, made: Path, share: float) -> None:
    data = made.read_bytes()
    made.write_bytes(data[: int(len(data) * share)])
    refused(place, made, "bytes than it contains|damaged|missing|cut")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x1f\x8b\x08" * 40, b"\0" * 20000])
def test_other_file_is_refused(place: Workspace, made: Path, data: bytes) -> None:
    made.write_bytes(data)
    refused(place, made, "archive")


def test_compressed_archive_is_refused(place: Workspace, made: Path) -> None:
    members = members_of(made)
    with tarfile.open(made, "w:gz") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    refused(place, made, "cannot be read as an archive")


def test_name_and_study_that_exist_are_refused(place: Workspace, made: Path) -> None:
    paths = restore_study(place, made, None, IndexOptions(), lambda line: None)
    before = sorted(paths.root.rglob("*"))
    with pytest.raises(UserError, match=r"exists already; choose another name with --as"):
        restore_study(place, made, None, IndexOptions(), lambda line: None)
    with pytest.raises(UserError, match=r"in the workspace already, as tiny"):
        restore_study(place, made, "again", IndexOptions(), lambda line: None)
    with pytest.raises(UserError, match="study name"):
        restore_study(place, made, "../x", IndexOptions(), lambda line: None)
    assert sorted(paths.root.rglob("*")) == before
    assert [path.name for path in place.studies.iterdir()] == ["tiny"]


def test_files_that_are_no_study_are_refused(place: Workspace, made: Path) -> None:
    members = members_of(made)
    name = "trials/0003/trial.json"
    entry = {"size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    broken = tarfile.TarInfo(name)
    broken.size = 2
    others = [pair for pair in members if pair[0].name != name]
    write(
        made, [*listed(others, lambda value: value["files"].update({name: entry})), (broken, b"{}")]
    )
    refused(place, made, "does not contain a study")


@pytest.mark.parametrize(
    "headers",
    [
        {"size": "99999999999999"},
        {"size": "-5"},
        {"path": "../../evil"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"},
        {"GNU.sparse.map": "0,1,99999999999,1", "GNU.sparse.size": "999999999999"},
    ],
)
@pytest.mark.parametrize("which", [0, -1])
def test_extended_header_with_another_size_or_path_is_refused(
    place: Workspace, made: Path, headers: dict[str, str], which: int
) -> None:
    members = members_of(made)
    members[which][0].pax_headers = headers
    write(made, members)
    refused(place, made, "archive|not as listed|damaged|not a plain file")


def test_record_that_is_nested_without_end_is_refused(place: Workspace, made: Path) -> None:
    members = members_of(made)
    name, data = "trials/0003/trial.json", b"[" * 200_000
    entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    nested = tarfile.TarInfo(name)
    nested.size = len(data)
    others = [pair for pair in members if pair[0].name != name]
    change = listed(others, lambda value: value["files"].update({name: entry}))
    write(made, [*change, (nested, data)])
    refused(place, made, "does not contain a study")


def test_link_in_a_study_is_not_archived(tmp_path: Path) -> None:
    paths = a_study(tmp_path).paths
    (paths.root / "notes.md").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match=r"notes.md: is a link or a device"):
        archive_study(paths, tmp_path / "a.tar")
    assert not list(tmp_path.glob("*.tar")) and not list(tmp_path.glob(".*.tmp"))


def test_restored_files_are_equal_and_private_ones_stay_away(place: Workspace, made: Path) -> None:
    source = made.parent / "source" / "studies" / "tiny"
    paths = restore_study(place, made, None, IndexOptions(), lambda line: None)
    names = {p.relative_to(source) for p in source.rglob("*") if p.is_file() and p.name != ".lock"}
    restored = {p.relative_to(paths.root) for p in paths.root.rglob("*") if p.is_file()}
    assert restored - {Path(".lock")} == names
    assert all((paths.root / n).read_bytes() == (source / n).read_bytes() for n in names)


def test_archive_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="exists already"):
        archive_study(a_study(tmp_path).paths, tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("folder", ["elsewhere", ".restoring/other@00000000"])
def test_study_that_another_command_restores_meanwhile_is_refused(
    place: Workspace, made: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """Under another name, so that only the id tells: in its place, or not yet."""
    other = StudyPaths(place.studies / folder)
    with ExitStack() as stack:

        def unpacked(*_: object) -> None:
            shutil.copytree(made.parent / "source" / "studies" / "tiny", other.root)
            stack.enter_context(hold_study_lock(other))

        monkeypatch.setattr(restore, "check_study_files", unpacked)
        with pytest.raises(UserError, match=r"in the workspace already, as (elsewhere|other)"):
            restore_study(place, made, "again", IndexOptions(), lambda line: None)
        assert not (place.studies / "again").exists() and other.study_yaml.exists()
