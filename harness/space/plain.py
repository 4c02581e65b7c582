"""Values and paths as plain as a file would hold them."""

import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import ConfigError


def plain(value: Any, place: str) -> Any:
    """A copy in plain dicts and lists. Raises ConfigError for what YAML could not hold."""
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise ConfigError(f"{place}: {wrong[0]!r}: a key must be text")
        return {str(key): plain(item, place) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, place) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):  # also numpy's
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise ConfigError(f"{place}: {value!r}: must be text, a number, true, false, null or a list")


def shown_path(path: Path) -> str:
    """The path as a person would type it here."""
    absolute = path.absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)
