import io
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from harness.core.errors import UserError
from harness.execution.cluster.checkpoint_store import CheckpointStore
from harness.execution.cluster.file_transfer import TransferError

STUDY_ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "scratch")
    else:  # a bucket has neither folders nor renames
        yield "memory://scratch"
        fsspec.filesystem("memory").rm("/scratch", recursive=True)


def save(url: str, content: bytes, *, number: int = 0, attempt: int = 1) -> None:
    CheckpointStore(url, STUDY_ID).save(number, attempt, io.BytesIO(content), len(content))


def restore(url: str, tmp_path: Path, number: int = 0) -> bytes | None:
    target = tmp_path / "restored"
    target.unlink(missing_ok=True)
    return target.read_bytes() if CheckpointStore(url, STUDY_ID).restore(number, target) else None


def stored(url: str) -> list[str]:
    files, base = fsspec.core.url_to_fs(url)
    return sorted(path.removeprefix(base) for path in files.find(base))


def test_newest_checkpoint_comes_back(url: str, tmp_path: Path) -> None:
    assert restore(url, tmp_path) is None
    for content in (b"one", b"two", b"three"):
        save(url, content)
        assert restore(url, tmp_path) == content
    assert restore(url, tmp_path, number=1) is None
    folder = f"/{STUDY_ID}/0000/0001-00000"
    names = [f"{folder}{n}.{end}" for n in (2, 3) for end in ("checkpoint", "json")]
    assert stored(url) == names, "the newest and the one before"


def test_later_attempt_is_newer(url: str, tmp_path: Path) -> None:
    save(url, b"first")
    save(url, b"second", attempt=2)
    save(url, b"of a lost agent")
    assert restore(url, tmp_path) == b"second"


@pytest.mark.parametrize("damage", [b"", b"thre", b"threX", b"three and more"])
def test_damaged_checkpoint_is_passed_over(url: str, tmp_path: Path, damage: bytes) -> None:
    save(url, b"two")
    save(url, b"three")
    files, base = fsspec.core.url_to_fs(url)
    files.pipe(f"{base}/{STUDY_ID}/0000/0001-000002.checkpoint", damage)
    assert restore(url, tmp_path) == b"two"


@pytest.mark.parametrize("manifest", [b"", b'{"size": 5', b"[]", b'{"size": "x", "sha256": 1}'])
def test_torn_manifest_is_passed_over(url: str, tmp_path: Path, manifest: bytes) -> None:
    save(url, b"two")
    save(url, b"three")
    files, base = fsspec.core.url_to_fs(url)
    files.pipe(f"{base}/{STUDY_ID}/0000/0001-000002.json", manifest)
    assert restore(url, tmp_path) == b"two"


def test_checkpoint_without_manifest_does_not_count(url: str, tmp_path: Path) -> None:
    save(url, b"one")
    files, base = fsspec.core.url_to_fs(url)
    files.pipe(f"{base}/{STUDY_ID}/0000/0001-000002.checkpoint", b"half")
    assert restore(url, tmp_path) == b"one"


def test_ended_trials_are_removed(url: str, tmp_path: Path) -> None:
    store = CheckpointStore(url, STUDY_ID)
    for number in (3, 12):
        save(url, b"x", number=number)
    assert store.trial_numbers() == [3, 12]
    store.remove(3)
    store.remove(4)
    assert store.trial_numbers() == [12]


def test_store_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TransferError, match="--scratch"):
        save(str(tmp_path / "file"), b"x")


def test_error_of_a_library_is_a_fault_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries of buckets raise errors that are no OSError, e.g. without credentials."""

    def refuse(*_: object, **__: object) -> None:
        raise LookupError("Unable to locate credentials")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "ls", refuse)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "exists", lambda *_: True)
    with pytest.raises(TransferError, match="LookupError: Unable to locate credentials"):
        save("memory://scratch", b"x")


def test_clear_removes_the_study_alone(url: str, tmp_path: Path) -> None:
    other = CheckpointStore(url, "f" * 32)
    other.save(0, 1, io.BytesIO(b"other"), 5)
    save(url, b"x")
    CheckpointStore(url, STUDY_ID).clear()
    CheckpointStore(url, STUDY_ID).clear()
    assert restore(url, tmp_path) is None and other.trial_numbers() == [0]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://me:hunter2@bucket/x", "contains credentials"),
        ("nonsense://x", "--scratch nonsense://x: Protocol not known"),
    ],
)
def test_urls_are_checked(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        CheckpointStore(url, STUDY_ID)
    assert "hunter2" not in str(caught.value)
