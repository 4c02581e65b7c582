"""Folder of a node for files from the controller, shared by all agents of the node.

<root>/content/cache/<key>/     decoded images, one folder per content
<root>/content/study/<key>/     split, augmentation, user-defined parts
<root>/content/hub/             layout of the Hugging Face cache
<root>/agents/<name>/           trials and log of one agent; removed once it is dead
"""

import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from harness.core import files
from harness.core.errors import UserError
from harness.execution.cluster.file_transfer import FileFetcher, fetch_file
from harness.execution.cluster.messages import ContentFolder, FileEntry

_SPARE_BYTES = 64 * 2**20  # that stay free for logs and epochs when a folder is fetched


class NodeScratch:
    """Scratch folder of one agent, and the content that it shares with the others of its node.

    The kernel holds the lock of an agent's folder and releases it when the agent ends, also after
    SIGKILL: folders of dead agents are removed when the next one starts.

    Raises:
        UserError: the folder belongs to another user, or is a link.

    Attributes:
        folder: this agent's own folder.
        hub: folder for pretrained weights, as HF_HUB_CACHE.
    """

    def __init__(self, root: Path) -> None:
        self._root = _private_folder(root)
        self._content, agents = self._root / "content", self._root / "agents"
        agents.mkdir(exist_ok=True)
        self.hub = self._content / "hub"
        self._verified: set[tuple[Path, str]] = set()
        with _locked(self._root / "agents.lock"):
            _remove_dead_agents(agents)
            name = f"{os.getpid()}-{secrets.token_hex(4)}"
            self._lock = _try_lock(agents / f"{name}.lock")
            self.folder = agents / name
            self.folder.mkdir()

    def trial_dir(self, number: int) -> Path:
        """Empty folder for an attempt at a trial."""
        folder = self.folder / "trials" / f"{number:04d}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    def content_folder(self, folder: ContentFolder) -> Path:
        """Path under which the files of a folder lie on this node."""
        return self.hub if folder.kind == "weights" else self._content / folder.kind / folder.key

    def fetch_folder(
        self, folder: ContentFolder, fetcher: FileFetcher, count: Callable[[int], None]
    ) -> Path:
        """Fetch a folder unless this node has it; the other agents of the node wait meanwhile.

        Args:
            count: receives the size of each fetched file.

        Raises:
            TransferError: the link fails.
            OSError: the disk of this node is full.
        """
        target = self.content_folder(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.parent / f"{target.name}.lock"):
            if folder.kind == "weights":  # one folder for all: files are added to it
                self._fetch_files(folder, target, fetcher, count)
            elif not _has_sizes(folder, target):
                self._fetch_whole(folder, target, fetcher, count)
        return target

    def has_files(self, root: Path, folder: ContentFolder) -> bool:
        """True if a folder of this node has all these files, by size and hash."""
        return all(self._has_file(root, entry) for entry in folder.files)

    def close(self) -> None:
        """Remove this agent's folder; the content stays for others."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            Path(self._lock.name).unlink()
        self._lock.close()

    def _fetch_whole(
        self,
        folder: ContentFolder,
        target: Path,
        fetcher: FileFetcher,
        count: Callable[[int], None],
    ) -> None:
        # A fixed name under the lock: what a killed agent has fetched is not fetched again.
        partial = target.with_name(f"{target.name}.partial")
        self._fetch_files(folder, partial, fetcher, count)
        expected = {partial / entry.path for entry in folder.files}
        for path in [path for path in partial.rglob("*") if path.is_file()]:
            if path not in expected:
                path.unlink()
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)

    def _fetch_files(
        self,
        folder: ContentFolder,
        target: Path,
        fetcher: FileFetcher,
        count: Callable[[int], None],
    ) -> None:
        target.mkdir(parents=True, exist_ok=True)
        missing = [entry for entry in folder.files if not self._has_file(target, entry)]
        _check_free_space(target, sum(entry.size for entry in missing))
        for entry in missing:
            fetch_file(fetcher, folder.key, entry, target / entry.path)
            self._verified.add((target / entry.path, entry.sha256))
            count(entry.size)

    def _has_file(self, target: Path, entry: FileEntry) -> bool:
        """True if the right file is there; each is hashed once in the life of an agent."""
        path = target / entry.path
        if not path.is_file() or path.stat().st_size != entry.size:
            return False
        if (path, entry.sha256) not in self._verified and files.file_sha256(path) != entry.sha256:
            return False
        self._verified.add((path, entry.sha256))
        return True


def _private_folder(root: Path) -> Path:
    """Create the folder for this user alone: other users of a node must not plant files in it."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    status = root.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise UserError(
            f"{root}: not a folder of user {os.getuid()}; remove it on this node, or give another "
            "folder for scratch files"
        )
    root.chmod(0o700)
    return root.resolve()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _try_lock(path: Path) -> IO[str]:
    """Open and lock a file; raises BlockingIOError if a live process holds it."""
    handle = path.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise
    return handle


def _remove_dead_agents(agents: Path) -> None:
    for lock_path in agents.glob("*.lock"):
        with suppress(BlockingIOError), _try_lock(lock_path):
            shutil.rmtree(lock_path.with_suffix(""), ignore_errors=True)
            lock_path.unlink()


def _has_sizes(folder: ContentFolder, target: Path) -> bool:
    """True if all files are there with their sizes: a folder gets its name when it is whole."""
    paths = [(target / entry.path, entry.size) for entry in folder.files]
    return target.is_dir() and all(p.is_file() and p.stat().st_size == n for p, n in paths)


def _check_free_space(folder: Path, needed: int) -> None:
    if needed and needed + _SPARE_BYTES > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
