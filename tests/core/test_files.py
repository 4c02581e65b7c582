import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core import files
from harness.core.errors import ConfigError


def test_file_appears_with_its_folders_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file.txt"
    files.write_text(target, "é\n")
    assert target.read_bytes() == "é\n".encode()
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    files.write_text(target, "old")

    def fail() -> None:
        with files.atomic_replace(target) as temporary:
            temporary.write_text("half of the n")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    files.write_text(target, "old")
    with files.atomic_replace(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_json_keeps_every_bit_and_refuses_what_json_has_not(tmp_path: Path) -> None:
    target = tmp_path / "file.json"
    files.write_json(target, {"x": 0.1 + 0.2})
    assert json.loads(target.read_text())["x"] == 0.1 + 0.2
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(target, {"x": float("nan")})
    assert json.loads(target.read_text()) == {"x": 0.1 + 0.2}


def test_lines_are_read_in_the_order_they_were_appended(tmp_path: Path) -> None:
    log = tmp_path / "new" / "log.jsonl"
    assert files.read_jsonl(log) == []
    files.append_jsonl(log, {"epoch": 1})
    files.append_jsonl(log, {"epoch": 2, "text": "two\nlines"})
    assert files.read_jsonl(log) == [{"epoch": 1}, {"epoch": 2, "text": "two\nlines"}]
    with pytest.raises(ValueError, match="Out of range float"):
        files.append_jsonl(log, {"loss": float("inf")})
    assert len(files.read_jsonl(log)) == 2


def test_torn_last_line_is_left_out_wherever_it_was_cut(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    files.append_jsonl(log, {"epoch": 1})
    first = log.stat().st_size
    files.append_jsonl(log, {"epoch": 2})
    whole = log.read_bytes()
    for size in range(first, len(whole)):
        log.write_bytes(whole[:size])
        assert files.read_jsonl(log) == [{"epoch": 1}]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    """The digest of "abc", FIPS 180-2, appendix B.1."""
    (tmp_path / "f").write_bytes(b"abc")
    assert files.file_sha256(tmp_path / "f") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_hashes_of_several_files_are_joined_as_text() -> None:
    """With sha256sum: the hashes of "a" and "b", in a row, hashed again."""
    one = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    other = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"
    assert files.combine_sha256([one]) == one
    assert files.combine_sha256([one, other]) == (
        "62af5c3cb8da3e4f25061e829ebeea5c7513c54949115b1acc225930a90154da"
    )


@pytest.mark.parametrize(
    "write",
    [lambda path: files.write_text(path, "x"), lambda path: files.append_jsonl(path, {"x": 1})],
    ids=["text", "line"],
)
def test_error_of_a_full_disk_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    """The system's error on a write to an open file names none."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a/b'"):
        write(tmp_path / "a" / "b")


def test_cause_of_an_error_is_found_below_others(tmp_path: Path) -> None:
    inner = OSError(errno.ENOSPC, "No space left on device", tmp_path / "a" / "b")
    outer = ValueError("a library's")
    outer.__cause__ = RuntimeError("another")
    outer.__cause__.__context__ = inner
    assert files.find_disk_error(outer) is inner
    assert files.find_disk_error(outer, files.TRANSIENT_ERRNOS) is None
    assert files.find_disk_error(OSError("no number")) is None
    assert files.nearest_existing_folder(OSError(errno.ENOSPC, "No space left")) is None
    copied = OSError(errno.ENOSPC, "No space left", "/src/a", None, str(tmp_path / "b"))
    assert files.nearest_existing_folder(copied) == tmp_path


def test_folder_is_found_where_a_disk_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.11 raises what the system says of a stale handle; 3.14 takes it for no folder."""
    is_dir = Path.is_dir

    def stale(path: Path) -> bool:
        if path.name == "stale":
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", stale)
    error = OSError(errno.ESTALE, "Stale file handle", str(tmp_path / "stale" / "1.png"))
    assert files.nearest_existing_folder(error) == tmp_path


def test_file_that_is_being_written_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "[a]*.json"
    assert not files.has_pending_write(path)
    with files.atomic_replace(path) as temporary:
        temporary.write_bytes(b"half")
        assert files.has_pending_write(path)
        assert not files.has_pending_write(tmp_path / "b")
    assert not files.has_pending_write(path)


@pytest.mark.parametrize("line", ["x", "[1]", '{"a"', "\xff"])
def test_damaged_line_of_a_log_is_named(tmp_path: Path, line: str) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"epoch": 1}\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(ConfigError, match=r"log\.jsonl:2: damaged, not "):
        files.read_jsonl(log)
