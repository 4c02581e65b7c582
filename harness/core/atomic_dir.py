"""Create folders atomically: complete under their final name, or absent."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.core.files import attach_path

_STALE_S = 24 * 3600  # a younger temporary folder may be in use by a live process


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `target` and rename it to `target` on success.

    If another process has created `target` meanwhile, that folder stays and this one is removed.

    Raises:
        OSError: `target` is a file, or the disk failed; the error names a path.

    Example:
        with atomic_directory(target) as temporary: (temporary / "a.txt").write_text("text")
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target.parent)
    # Next to the target, as a rename is atomic within one file system only. The process id alone is
    # not unique: hosts that share the disk, and containers, repeat it.
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        with attach_path(target):
            yield temporary
        try:
            temporary.rename(target)
        except OSError:
            # rename(2) refuses to replace a folder with contents: another process was faster.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    """Remove temporary folders of killed processes: those unchanged for a day."""
    for stale in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - stale.stat().st_mtime > _STALE_S:
                shutil.rmtree(stale, ignore_errors=True)
