"""Values and paths as plain as a file would hold them."""

import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import ConfigError


def to_plain(value: Any, source: str) -> Any:
    """A copy in plain dicts and lists. Raises ConfigError for what YAML could not hold."""
    if isinstance(value, Mapping):
        bad_keys = [key for key in value if not isinstance(key, str)]
        if bad_keys:
            raise ConfigError(f"{source}: {bad_keys[0]!r}: a key must be text")
        return {str(key): to_plain(item, source) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item, source) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):  # also numpy's
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise ConfigError(f"{source}: {value!r}: must be text, a number, true, false, null or a list")


def display_path(path: Path) -> str:
    """The path as a person would type it here."""
    absolute = path.absolute()
    cwd = Path.cwd()
    return str(absolute.relative_to(cwd)) if absolute.is_relative_to(cwd) else str(path)
