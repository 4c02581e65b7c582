"""Addresses of SQLite files, as SQLAlchemy, Optuna and MLflow read them.

An address is percent-encoded, a path is not: in the folder `a%20b` or `why?` the path taken for an
address would name another file.
"""

import re
from pathlib import Path
from urllib.parse import quote, unquote

from harness.errors import ConfigError
from harness.paths import user_path

SQLITE = "sqlite:///"
_DRIVER = "sqlite+pysqlite:///"
_FORM = re.compile(r"sqlite(?:\+[a-z0-9]+)?:///(.*)", re.DOTALL)
_QUERY = re.compile(r"(.*)(\?[a-z_]+=[^/?]*)", re.DOTALL)


def file_address(database: Path) -> str:
    """Address of a SQLite file, percent-encoded, as Optuna's own commands take it, too.

    Raises:
        ConfigError: the path is not UTF-8.
    """
    return SQLITE + _quoted(database)


def mlflow_address(database: Path) -> str:
    """The same for MLflow.

    The driver is named where anything is encoded: of `sqlite:///…` MLflow makes the folder
    without decoding it, of an address with a driver it makes none (mlflow 3.17,
    store/db/utils.py, _make_parent_dirs_if_sqlite).
    """
    quoted = _quoted(database)
    return (SQLITE if quoted == str(database) else _DRIVER) + quoted


def is_file_address(address: str) -> bool:
    """Whether an address names a SQLite file."""
    return _FORM.fullmatch(address) is not None


def read_file_address(address: str) -> tuple[Path, str]:
    """The file that an address of a user's names, absolute, and its settings, e.g. `?timeout=5`.

    The path is taken as it stands if its folder exists, since people paste paths; else it is
    decoded, as the addresses that are printed are encoded. A leading `~` is the home folder.

    Raises:
        ConfigError: no file is named.
    """
    match = _FORM.fullmatch(address)
    if match is None or not match[1]:
        raise ConfigError(f"{address!r} names no file; use {SQLITE}FILE")
    plain, settings = match[1], ""
    if (query := _QUERY.fullmatch(plain)) is not None:
        plain, settings = query[1], query[2]
    path = user_path(plain)
    if not path.parent.is_dir():
        path = user_path(unquote(plain))
    return path.absolute(), settings


def _quoted(database: Path) -> str:
    try:
        return quote(str(database))
    except UnicodeEncodeError:
        raise ConfigError(
            f"{str(database)!r}: the path of a database must be UTF-8; rename the folder, or name "
            "another --workspace"
        ) from None
