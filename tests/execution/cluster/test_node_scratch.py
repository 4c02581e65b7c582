import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import UserError
from harness.execution.cluster.file_transfer import TransferError, describe_file
from harness.execution.cluster.messages import ContentFolder, FolderKind
from harness.execution.cluster.node_scratch import NodeScratch
from tests.execution.cluster.links import FaultyLink, drop

KEY = "0123456789abcdef"
ROOT = Path(__file__).resolve().parents[3]


class LoggingFetcher:
    """Reads files of a folder and appends a line to a log for each chunk."""

    def __init__(self, root: Path, log: Path) -> None:
        self.root, self.log = root, log

    def read_chunk(self, folder_key: str, path: str, offset: int) -> bytes:
        with self.log.open("a", encoding="utf-8") as handle:
            handle.write(f"{path} {offset}\n")
        return (self.root / path).read_bytes()[offset : offset + 100_000]

    def lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []


@pytest.fixture
def fetcher(tmp_path: Path) -> LoggingFetcher:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("images.npy", "masks.npy"):
        (source / name).write_bytes(os.urandom(250_000))
    return LoggingFetcher(source, tmp_path / "log")


@pytest.fixture
def open_scratch(tmp_path: Path) -> Iterator[Callable[[], NodeScratch]]:
    """Opens the scratch folder of one more agent of the node."""
    scratches: list[NodeScratch] = []

    def open_one() -> NodeScratch:
        scratches.append(NodeScratch(tmp_path / "node"))
        return scratches[-1]

    yield open_one
    for scratch in scratches:
        scratch.close()


def content(fetcher: LoggingFetcher, kind: FolderKind = "cache") -> ContentFolder:
    entries = [describe_file(fetcher.root, name) for name in ("images.npy", "masks.npy")]
    return ContentFolder(key=KEY, kind=kind, root=Path("/far-away"), files=tuple(entries))


def fetch(scratch: NodeScratch, fetcher: Any, folder: ContentFolder) -> Path:
    return scratch.fetch_folder(folder, fetcher, lambda _: None)


def test_folder_is_fetched_once_per_node(
    tmp_path: Path, open_scratch: Callable[[], NodeScratch], fetcher: LoggingFetcher
) -> None:
    for _ in range(2):
        scratch = open_scratch()
        local = fetch(scratch, fetcher, content(fetcher))
        assert local == tmp_path / "node" / "content" / "cache" / KEY
        for name in ("images.npy", "masks.npy"):
            assert (local / name).read_bytes() == (fetcher.root / name).read_bytes()
        scratch.close()
    assert len(fetcher.lines()) == 6


def stage_in_process(node: Path, fetcher: LoggingFetcher, barrier: Any) -> None:
    scratch = NodeScratch(node)
    barrier.wait()
    fetch(scratch, fetcher, content(fetcher))


def test_agents_that_start_together_fetch_once(tmp_path: Path, fetcher: LoggingFetcher) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    processes = [
        context.Process(target=stage_in_process, args=(tmp_path / "node", fetcher, barrier))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(fetcher.lines()) == 6
    assert sorted(p.name for p in (tmp_path / "node" / "content" / "cache").iterdir()) == [
        KEY,
        f"{KEY}.lock",
    ]


def test_next_agent_goes_on_with_what_a_dead_one_fetched(
    tmp_path: Path,
    open_scratch: Callable[[], NodeScratch],
    fetcher: LoggingFetcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.execution.cluster.file_transfer.backoff_s", lambda _: 0.0)
    scratch = open_scratch()
    with pytest.raises(TransferError):
        fetch(scratch, FaultyLink(fetcher, spoil_read=drop(*range(4, 100))), content(fetcher))
    assert not (tmp_path / "node" / "content" / "cache" / KEY).exists(), "half a folder has no name"
    before = len(fetcher.lines())
    local = fetch(open_scratch(), fetcher, content(fetcher))
    assert len(fetcher.lines()) - before == 3, "the first file was there"
    assert (local / "masks.npy").read_bytes() == (fetcher.root / "masks.npy").read_bytes()


def test_damaged_folder_is_fetched_again(
    tmp_path: Path, open_scratch: Callable[[], NodeScratch], fetcher: LoggingFetcher
) -> None:
    scratch = open_scratch()
    local = fetch(scratch, fetcher, content(fetcher))
    (local / "images.npy").write_bytes(b"short")
    fetch(scratch, fetcher, content(fetcher))
    assert (local / "images.npy").read_bytes() == (fetcher.root / "images.npy").read_bytes()


def test_weights_of_several_encoders_share_one_folder(
    tmp_path: Path, open_scratch: Callable[[], NodeScratch], fetcher: LoggingFetcher
) -> None:
    scratch = open_scratch()
    hub = fetch(scratch, fetcher, content(fetcher, "weights"))
    (hub / "models--other").mkdir()
    assert fetch(scratch, fetcher, content(fetcher, "weights")) == hub == scratch.hub
    assert len(fetcher.lines()) == 6 and (hub / "models--other").is_dir()


def test_full_disk_of_the_node_is_an_os_error(
    tmp_path: Path,
    open_scratch: Callable[[], NodeScratch],
    fetcher: LoggingFetcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="No space left") as caught:
        fetch(open_scratch(), fetcher, content(fetcher))
    assert caught.value.errno == errno.ENOSPC
    assert fetcher.lines() == []


HOLDER = """
import sys, time
from pathlib import Path
from harness.execution.cluster.node_scratch import NodeScratch

scratch = NodeScratch(Path(sys.argv[1]))
scratch.trial_dir(3)
print(scratch.folder, flush=True)
time.sleep(600)
"""


def test_folders_of_dead_agents_are_removed(
    tmp_path: Path, open_scratch: Callable[[], NodeScratch]
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "node")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        second = open_scratch()
        assert folder.is_dir(), "its agent is alive"
        holder.send_signal(signal.SIGKILL)
    third = open_scratch()
    assert not folder.exists() and second.folder.is_dir() and third.folder.is_dir()
    second.close()
    assert not second.folder.exists()
    names = sorted(path.name for path in (tmp_path / "node" / "agents").iterdir())
    assert names == [third.folder.name, f"{third.folder.name}.lock"]


def test_scratch_is_for_this_user_alone(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o777)
    NodeScratch(tmp_path / "open").close()
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o700


def test_planted_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "node").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="not a folder of user"):
        NodeScratch(tmp_path / "node")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a folder away")
def test_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    os.chown(tmp_path / "node", 12345, 12345)
    with pytest.raises(UserError, match="not a folder of user 0"):
        NodeScratch(tmp_path / "node")
