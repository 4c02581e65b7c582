"""Folders that appear whole or not at all."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.files import naming

_STALE_S = 24 * 3600


@contextmanager
def building(place: Path) -> Iterator[Path]:
    """A temporary folder beside `place` that becomes `place` on success.

    Where another process was faster, its folder stays and this one is dropped.

    Example:
        with building(target) as temporary: (temporary / "a.txt").write_text("whole")
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(place.parent)
    temporary = place.with_name(f".{place.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        with naming(place):
            yield temporary
        try:
            temporary.rename(place)
        except OSError:
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    """Remove what killed builders left: temporary folders that nobody touched for a day."""
    for left in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_S:
                shutil.rmtree(left, ignore_errors=True)
