"""Folders that a bundle may be written to; nothing but a bundle is ever replaced."""

import json
import secrets
from pathlib import Path

from harness.core.errors import UserError
from harness.deploy.export.description import DESCRIPTION_FILE

_CACHE = "__pycache__"


def check_target(folder: Path, *, force: bool) -> None:
    """Check that a bundle may be written as `folder`.

    Raises:
        UserError: it is a file, or holds anything but a bundle that `force` may replace.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"--out {folder}: a file; name a new folder")
    if not any(folder.iterdir()):
        return
    foreign = _foreign_files(folder)
    if foreign is None:
        raise UserError(f"--out {folder}: is not empty and no bundle; name a new folder")
    if foreign:
        raise UserError(
            f"--out {folder}: holds files that are not of the bundle ({foreign[0]}); move them, or "
            "name a new folder"
        )
    if not force:
        raise UserError(f"--out {folder}: holds a bundle; replace it with --force")


def _foreign_files(folder: Path) -> list[str] | None:
    """Names in a bundle's folder that the bundle does not list; None: it is no bundle."""
    try:
        listed = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))["files"]
        own = {*listed, DESCRIPTION_FILE}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    paths = [path for path in folder.rglob("*") if not path.is_dir()]
    names = {path.relative_to(folder).as_posix() for path in paths if path.parent.name != _CACHE}
    return sorted(names - own)


def move_away(folder: Path) -> Path | None:
    """Rename a bundle that is replaced, so that it is whole until the new one has its name."""
    if not folder.exists() or not any(folder.iterdir()):
        return None
    old = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    folder.rename(old)
    return old
