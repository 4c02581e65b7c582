"""Download Kvasir-SEG with limits, a checksum and a check of every archive entry."""

import hashlib
import http.client
import os
import shutil
import ssl
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from harness.config.data import StudyDataConfig
from harness.core.atomic_dir import atomic_directory
from harness.core.errors import DataError
from harness.data.datasets.sources import KVASIR, open_dataset

Progress = Callable[[int, int | None], None]

_TIMEOUT_S: Final = 30.0
_CHUNK: Final = 1 << 18
_MOST_BYTES: Final = 500_000_000  # ten times the published archive
_MOST_UNPACKED_BYTES: Final = 2_000_000_000
_MOST_FILES: Final = 20_000
_MOST_RATIO: Final = 200  # unpacked to packed; of JPEG it is near 1
_MAX_PIXELS: Final = 100e6
_BOXES: Final = "kvasir_bboxes.json"
# The archive spells its file of boxes "kavsir"; here it has the right name.
_RENAMED: Final = {"kavsir_bboxes.json": _BOXES, _BOXES: _BOXES}


def download_kvasir(
    folder: Path,
    *,
    url: str = KVASIR.url,
    sha256: str = KVASIR.sha256,
    progress: Progress | None = None,
) -> Path:
    """Download and unpack Kvasir-SEG below `folder`, completely or not at all.

    Args:
        folder: the workspace's `data/`; it also holds the archive, as an unnamed temporary file.
        progress: called with bytes received and the total (None if the server does not send it).

    Returns:
        `folder/kvasir-seg` with `images/`, `masks/` and `kvasir_bboxes.json`; without a download if
        it exists.

    Raises:
        DataError: no connection, an empty, short or wrong answer, an unsafe archive, a full disk.
    """
    dataset_folder = folder / KVASIR.name
    if dataset_folder.is_dir():
        return dataset_folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as archive:
            _fetch(url, archive, progress)
            _check_sha256(url, archive, sha256)
            with atomic_directory(dataset_folder) as temporary:
                _unpack(url, archive, temporary)
                _check_layout(url, temporary)
    except OSError as error:
        raise DataError(f"{folder}: cannot hold {KVASIR.name}: {error.strerror}") from error
    return dataset_folder


def _fetch(url: str, archive: IO[bytes], progress: Progress | None) -> None:
    """Copy the response into `archive`. Raises DataError for every network failure."""
    received = 0
    with _connection_errors(url), _open_url(url) as response:
        length = response.headers.get("Content-Length", "")
        expected = int(length) if length.isdecimal() else None
        # The header's length is not trusted: it may be absent or wrong.
        while chunk := response.read(_CHUNK):
            received += len(chunk)
            if received > _MOST_BYTES:
                raise DataError(f"{url}: sends more than {_MOST_BYTES:,} bytes; this is not it")
            archive.write(chunk)
            if progress is not None:
                progress(received, expected)
    if expected is not None and received < expected:
        raise DataError(f"{url}: stopped after {received:,} of {expected:,} bytes; try again")
    if received == 0:
        raise DataError(f"{url}: answered with nothing; {_BY_HAND}")


_BY_HAND: Final = (
    f"try again later, or get the archive from {KVASIR.page} and unpack it so that images/ and "
    f"masks/ lie in data/{KVASIR.name}/"
)


def _open_url(url: str) -> http.client.HTTPResponse:
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{url}: only http and https addresses are fetched")
    request = urllib.request.Request(url, headers={"User-Agent": "segmentation-harness"})  # noqa: S310 (checked above)
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 (checked above)
    return response


@contextmanager
def _connection_errors(url: str) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{url}: answered {error.code} {error.reason}; {_BY_HAND}") from None
    except urllib.error.URLError as error:
        raise DataError(f"{url}: no connection ({error.reason}); {_BY_HAND}") from None
    except (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
        raise DataError(f"{url}: the connection broke ({error!r}); try again") from None


def _check_sha256(url: str, archive: IO[bytes], sha256: str) -> None:
    archive.seek(0)
    # Before a byte is unpacked: zip parsers have had flaws of their own.
    actual = hashlib.file_digest(archive, "sha256").hexdigest()  # type: ignore[arg-type]
    if actual != sha256:
        size = archive.seek(0, os.SEEK_END)
        archive.seek(0)
        start = archive.read(40)
        raise DataError(
            f"{url}: not the published archive: {size:,} bytes beginning with {start!r}, SHA-256 "
            f"{actual[:12]}... instead of {sha256[:12]}...; {_BY_HAND}"
        )


def _unpack(url: str, archive: IO[bytes], folder: Path) -> None:
    """Write images, masks and boxes. Raises DataError before anything unsafe is written."""
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = [entry for entry in packed.infolist() if not entry.is_dir()]
            _check_entries(url, entries)
            for entry in entries:
                target = _target_path(entry.filename)
                if target is not None:
                    (folder / target).parent.mkdir(exist_ok=True)
                    # zipfile stops after the size in the header, so a forged stream cannot grow.
                    with packed.open(entry) as source, (folder / target).open("wb") as out:
                        shutil.copyfileobj(source, out, _CHUNK)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataError(f"{url}: a damaged archive ({error}); try again") from None


def _check_entries(url: str, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > _MOST_FILES:
        raise DataError(f"{url}: an unsafe archive: {len(entries):,} files")
    for entry in entries:
        name, mode = entry.filename, entry.external_attr >> 16
        kind = stat.S_IFMT(mode)
        # Backslashes and drive letters are path syntax on Windows only; refused everywhere alike.
        if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
            raise DataError(f"{url}: an unsafe archive: the path {name!r} leaves its folder")
        # 0: archives made on Windows hold no Unix mode.
        if kind not in (0, stat.S_IFREG):
            raise DataError(f"{url}: an unsafe archive: {name!r} is a link or a device")
        if entry.file_size > _MOST_RATIO * max(entry.compress_size, 1024):
            raise DataError(f"{url}: an unsafe archive: {name!r} unpacks to {entry.file_size:,}")
    targets = [_target_path(entry.filename) for entry in entries]
    if len({*targets} - {None}) < len(targets) - targets.count(None):
        raise DataError(f"{url}: an unsafe archive: two files with one name")
    total = sum(entry.file_size for entry in entries)
    if total > _MOST_UNPACKED_BYTES:
        raise DataError(f"{url}: an unsafe archive: unpacks to {total:,} bytes")


def _target_path(name: str) -> Path | None:
    """Target of an archive entry, in one of two folders; None for entries that are not needed."""
    path = PurePosixPath(name)
    if path.name in _RENAMED:
        return Path(_RENAMED[path.name])
    if path.parent.name in ("images", "masks") and not path.name.startswith("."):
        return Path(path.parent.name, path.name)
    return None


def _check_layout(url: str, folder: Path) -> None:
    try:
        open_dataset(folder, StudyDataConfig(), max_pixels=_MAX_PIXELS)
    except DataError as error:
        problems = str(error).replace(f"{folder}: ", "")
        raise DataError(f"{url}: the archive does not hold the dataset: {problems}") from None
