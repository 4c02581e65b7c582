"""Checkpoints outside of the link to the controller: on a shared folder or in a bucket.

Each checkpoint is a file of its own with a manifest that is written after it, so nothing is ever
renamed: a bucket cannot rename. A file without a manifest, or with another hash, does not count.

    <scratch>/<study id>/<trial>/<attempt>-<count>.checkpoint
    <scratch>/<study id>/<trial>/<attempt>-<count>.json
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import fsspec

from harness.core import files
from harness.core.errors import HarnessError, UserError
from harness.execution.cluster.file_transfer import TransferError, iter_chunks
from harness.execution.cluster.messages import CHUNK_BYTES, FileEntry

_MANIFEST = re.compile(r"(\d+)-(\d+)\.json")
_N_KEPT = 2  # the newest and the one before


@dataclass(frozen=True, order=True)
class _StoredCheckpoint:
    """A checkpoint with a manifest; a later attempt is newer, whatever it has trained."""

    attempt: int
    count: int

    @property
    def stem(self) -> str:
        return f"{self.attempt:04d}-{self.count:06d}"


class CheckpointStore:
    """Checkpoints of one study below `--scratch`.

    Args:
        url: a folder that all nodes share, or a URL that fsspec opens, e.g. `s3://bucket/path`.
            Credentials come from the environment of each node.
        study_id: separates the studies of one scratch folder.

    Raises:
        UserError: an unknown protocol, a missing package, or credentials in the URL.
    """

    def __init__(self, url: str, study_id: str) -> None:
        parts = urlsplit(url)
        if parts.username or parts.password:
            raise UserError(
                f"--scratch: the URL of {parts.scheme}://{parts.hostname} contains credentials, "
                "which would be sent to every node; put them into the environment of the nodes"
            )
        try:
            self._files, base = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise UserError(
                f"--scratch {url}: {error}; for s3:// pip install 'segmentation-harness[s3]'"
            ) from error
        except ValueError as error:
            raise UserError(f"--scratch {url}: {error}") from error
        self._base = f"{base.rstrip('/')}/{study_id}"

    def save(self, number: int, attempt: int, handle: BinaryIO, size: int) -> None:
        """Store the first `size` bytes of an open checkpoint, and remove those before the last two.

        Raises:
            TransferError: the store cannot be written.
        """
        folder, stored = self._folder(number), self._list(number)
        own = [checkpoint for checkpoint in stored if checkpoint.attempt <= attempt]
        n_own = max((c.count for c in own if c.attempt == attempt), default=0)
        newest = _StoredCheckpoint(attempt, n_own + 1)
        with _store_errors(folder):
            self._files.makedirs(folder, exist_ok=True)
            digest = hashlib.sha256()
            with self._files.open(f"{folder}/{newest.stem}.checkpoint", "wb") as target:
                for _, data in iter_chunks(handle, size):
                    digest.update(data)
                    target.write(data)
            manifest = {"size": size, "sha256": digest.hexdigest()}
            with self._files.open(f"{folder}/{newest.stem}.json", "wb") as target:
                target.write(json.dumps(manifest).encode("ascii"))
            # Never those of later attempts: this may be an agent that its controller has lost.
            for old in own[: 1 - _N_KEPT]:
                self._files.rm(f"{folder}/{old.stem}.json")
                self._files.rm(f"{folder}/{old.stem}.checkpoint")

    def restore(self, number: int, target: Path) -> bool:
        """Copy the newest intact checkpoint of a trial to `target`; False if there is none.

        Raises:
            TransferError: the store cannot be read. To start from the beginning instead would lose
                the epochs of the trial.
            OSError: the disk of this machine is full.
        """
        folder = self._folder(number)
        for checkpoint in reversed(self._list(number)):
            entry = self._read_manifest(f"{folder}/{checkpoint.stem}.json")
            if entry is not None and self._copy(folder, checkpoint, entry, target):
                return True
        return False

    def remove(self, number: int) -> None:
        """Remove the checkpoints of a trial that has ended."""
        folder = self._folder(number)
        with _store_errors(folder):
            if self._files.exists(folder):
                self._files.rm(folder, recursive=True)

    def clear(self) -> None:
        """Remove all checkpoints of the study. Raises TransferError."""
        with _store_errors(self._base):
            if self._exists(self._base):
                self._files.rm(self._base, recursive=True)

    def trial_numbers(self) -> list[int]:
        """Numbers of the trials that have checkpoints here."""
        with _store_errors(self._base):
            paths = self._files.ls(self._base, detail=False) if self._exists(self._base) else []
        names = (path.rstrip("/").rsplit("/", 1)[-1] for path in paths)
        return sorted(int(name) for name in names if name.isdecimal())

    def _folder(self, number: int) -> str:
        return f"{self._base}/{number:04d}"

    def _exists(self, path: str) -> bool:
        self._files.invalidate_cache()  # other nodes write here; fsspec remembers listings
        return bool(self._files.exists(path))

    def _list(self, number: int) -> list[_StoredCheckpoint]:
        """Checkpoints of a trial that have a manifest, oldest first."""
        folder = self._folder(number)
        with _store_errors(folder):
            paths = self._files.ls(folder, detail=False) if self._exists(folder) else []
        matches = (_MANIFEST.fullmatch(path.rsplit("/", 1)[-1]) for path in paths)
        return sorted(_StoredCheckpoint(int(m[1]), int(m[2])) for m in matches if m is not None)

    def _read_manifest(self, path: str) -> FileEntry | None:
        """The size and hash that a manifest states; None if it is torn."""
        with _store_errors(path), self._files.open(path, "rb") as handle:
            text = handle.read(1000)
        try:
            return FileEntry(path="checkpoint", **json.loads(text))
        except (ValueError, TypeError):
            return None

    def _copy(
        self, folder: str, checkpoint: _StoredCheckpoint, entry: FileEntry, target: Path
    ) -> bool:
        """Copy a checkpoint; False if it is not the one of its manifest."""
        digest, n_bytes = hashlib.sha256(), 0
        try:
            with files.atomic_replace(target) as temporary, temporary.open("wb") as output:
                for data in self._read(f"{folder}/{checkpoint.stem}.checkpoint"):
                    digest.update(data)
                    output.write(data)
                    n_bytes += len(data)
                if (n_bytes, digest.hexdigest()) != (entry.size, entry.sha256):
                    raise _DamagedCheckpointError
        except _DamagedCheckpointError:
            return False
        return True

    def _read(self, path: str) -> Iterator[bytes]:
        with _store_errors(path):
            if not self._files.exists(path):
                raise _DamagedCheckpointError
            handle = self._files.open(path, "rb")
        with handle:
            while True:
                with _store_errors(path):
                    data = handle.read(CHUNK_BYTES)
                if not data:
                    return
                yield data


class _DamagedCheckpointError(Exception):
    """A checkpoint is not the one that its manifest describes."""


@contextmanager
def _store_errors(path: str) -> Iterator[None]:
    """Turn faults of a store into TransferError; the disk of this machine is another matter."""
    try:
        yield
    except (HarnessError, _DamagedCheckpointError):
        raise
    except Exception as error:  # each protocol has a library with errors of its own
        raise TransferError(f"--scratch {path}: {type(error).__name__}: {error}") from error
