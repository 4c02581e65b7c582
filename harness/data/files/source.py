"""Read access to the files of a dataset, wherever they are stored.

The scan, the check of a split, the image cache, the held-out test and the report read images and
masks through a `DataSource` and open no path themselves. A bucket or a database of images enters
by a class with these members and one more case in `harness.data.datasets.sources.open_source`.
"""

import errno
import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

from harness.core.errors import DataError
from harness.core.files import combine_sha256

RelativePath = PurePath | str  # with /, relative to the root of a source


class DataSource(Protocol):
    """The files of one dataset, by their path relative to its root.

    Several threads read from a source simultaneously.
    """

    @property
    def root(self) -> PurePath:
        """The start of every path in messages; a folder of this machine in `FolderSource` only."""

    def size(self, path: RelativePath) -> int:
        """Size of a file in bytes, without reading it. Raises as `open`."""

    def open(self, path: RelativePath) -> io.BufferedIOBase:
        """Open a file to read its bytes, from any position.

        Raises:
            DataError: the path leads out of the source.
            OSError: the file is absent (FileNotFoundError) or cannot be read.
        """


@dataclass(frozen=True)
class FolderSource:
    """A local folder. Steps that need one (published lists, a cleaned copy) ask for this type."""

    root: Path

    def resolve(self, path: RelativePath) -> Path:
        """Local path of a file. Raises DataError if it leads out of the folder."""
        local = self.root / path
        try:
            # Both sides are resolved, since the data folder itself may be a link (or /tmp on
            # macOS).
            inside = local.resolve().is_relative_to(self.root.resolve())
        except RuntimeError:  # Python before 3.13 raises it for links that form a loop
            raise DataError(
                f"{local}: a link that leads nowhere; put the file itself here"
            ) from None
        if not inside:
            raise DataError(f"{local}: a link that leaves the folder; put the file itself here")
        return local

    def size(self, path: RelativePath) -> int:
        """Size of a file in bytes."""
        return self._regular_file(path).stat().st_size

    def open(self, path: RelativePath) -> io.BufferedIOBase:
        """Open a file to read its bytes."""
        return self._regular_file(path).open("rb")

    def _regular_file(self, path: RelativePath) -> Path:
        local = self.resolve(path)
        # Opening a named pipe would block until another process writes into it.
        if not local.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(local))
        return local


def hash_files(source: DataSource, paths: Iterable[RelativePath]) -> str:
    """SHA-256 of one file, or the combined hash of several, read in blocks.

    Raises:
        DataError, OSError: as `DataSource.open`.
    """
    digests = []
    for path in paths:
        with source.open(path) as handle:
            digests.append(hashlib.file_digest(handle, "sha256").hexdigest())
    return combine_sha256(digests)
