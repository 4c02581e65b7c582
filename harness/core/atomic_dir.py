"""Folders that appear whole or not at all."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.core.files import attach_path

_STALE_S = 24 * 3600


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """A temporary folder next to `target` that becomes `target` on success.

    Where another process was faster, its folder stays and this one is dropped.

    Example:
        with building(target) as temporary: (temporary / "a.txt").write_text("whole")
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target.parent)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        with attach_path(target):
            yield temporary
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    """Remove what killed builders left: temporary folders without a change for a day."""
    for stale in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - stale.stat().st_mtime > _STALE_S:
                shutil.rmtree(stale, ignore_errors=True)
