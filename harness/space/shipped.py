"""Folder of the search spaces that come with the package; imports nothing, for completion."""

from importlib import resources
from pathlib import Path


def shipped_spaces() -> Path:
    """Return the folder; its files are read only."""
    return Path(str(resources.files("harness") / "shipped_spaces")).resolve()
