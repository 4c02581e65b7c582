"""Conversion of values to plain Python types as YAML loads them, and of paths for messages."""

import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import ConfigError


def to_plain(value: Any, source: str) -> Any:
    """A copy in plain dicts, lists and scalars. Raises ConfigError for what YAML cannot hold."""
    if isinstance(value, Mapping):
        bad_keys = [key for key in value if not isinstance(key, str)]
        if bad_keys:
            raise ConfigError(f"{source}: {bad_keys[0]!r}: a key must be text")
        return {str(key): to_plain(item, source) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item, source) for item in value]
    if value is None or isinstance(value, bool):  # before Integral, of which bool is a subclass
        return value
    if isinstance(value, str):
        return str(value)
    # The abstract classes include numpy's scalars, which PyYAML would not write as numbers.
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise ConfigError(f"{source}: {value!r}: must be text, a number, true, false, null or a list")


def display_path(path: Path) -> str:
    """The path relative to the current folder if it lies below it, otherwise as given."""
    absolute = path.absolute()
    cwd = Path.cwd()
    return str(absolute.relative_to(cwd)) if absolute.is_relative_to(cwd) else str(path)
