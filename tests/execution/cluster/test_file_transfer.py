import random
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.execution.cluster.file_transfer import (
    ATTEMPTS,
    TransferError,
    describe_file,
    fetch_file,
)
from harness.execution.cluster.messages import FileEntry
from tests.execution.cluster.links import FaultyLink, corrupt, drop, shorten

CHUNK = 1000
CONTENT = random.Random(0).randbytes(4500)


class FolderFetcher:
    """Reads any file of a folder, in small chunks."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read_chunk(self, folder_key: str, path: str, offset: int) -> bytes:
        return (self.root / path).read_bytes()[offset : offset + CHUNK]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(CONTENT)
    return tmp_path / "source"


def fetch(source: Path, target: Path, spoil: Callable[[int, bytes], bytes]) -> FaultyLink:
    link = FaultyLink(FolderFetcher(source), spoil_read=spoil)
    fetch_file(link, "key", describe_file(source, "a"), target, lambda _: None)
    return link


@pytest.mark.parametrize(
    ("spoil", "n_reads"),
    [
        (drop(), 5),
        (drop(2), 6),  # that chunk again
        (drop(1, 2, 3, 4, 5, 6, 7), 12),
        (corrupt(3), 10),  # the whole file again: which chunk was wrong is not known
        (shorten(2), 10 + 1),  # the rest is one byte late, and a byte more at its end
        (corrupt(1, 6, 11), 20),
    ],
)
def test_file_arrives_whole_over_a_link_that_fails(
    source: Path, tmp_path: Path, spoil: Callable[[int, bytes], bytes], n_reads: int
) -> None:
    link = fetch(source, tmp_path / "target", spoil)
    assert (tmp_path / "target").read_bytes() == CONTENT
    assert link.n_reads <= n_reads


@pytest.mark.parametrize("spoil", [corrupt(*range(1000)), shorten(*range(1000))])
def test_torn_file_is_never_accepted(
    source: Path, tmp_path: Path, spoil: Callable[[int, bytes], bytes]
) -> None:
    with pytest.raises(TransferError, match=f"a: .* in {ATTEMPTS} attempts"):
        fetch(source, tmp_path / "target", spoil)
    assert [path.name for path in tmp_path.iterdir()] == ["source"], "nothing is left"


def test_link_that_stays_cut_is_reported(source: Path, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="a: the link was cut"):
        fetch(source, tmp_path / "target", drop(*range(1000)))


def test_file_that_ends_early_is_no_end(source: Path, tmp_path: Path) -> None:
    entry = describe_file(source, "a")
    longer = FileEntry(path="a", size=entry.size + 1, sha256=entry.sha256)
    with pytest.raises(TransferError, match="4500 bytes arrived, not 4501"):
        fetch_file(FolderFetcher(source), "key", longer, tmp_path / "t", lambda _: None)


def test_empty_file_arrives(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    fetch_file(FolderFetcher(tmp_path), "k", describe_file(tmp_path, "a"), tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b""


def test_existing_file_stays_until_the_new_one_is_whole(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    with pytest.raises(TransferError):
        fetch(source, tmp_path / "target", corrupt(*range(1000)))
    assert (tmp_path / "target").read_bytes() == b"old"
