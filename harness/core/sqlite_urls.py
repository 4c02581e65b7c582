"""Addresses of SQLite files, as SQLAlchemy, Optuna and MLflow read them.

An address is percent-encoded, a path is not: in the folder `a%20b` or `why?` the path taken for an
address would name another file.
"""

import re
from pathlib import Path
from urllib.parse import quote, unquote

from harness.core.errors import ConfigError
from harness.core.paths import expand_user_path

SQLITE_PREFIX = "sqlite:///"
_DRIVER_PREFIX = "sqlite+pysqlite:///"
_URL_PATTERN = re.compile(r"sqlite(?:\+[a-z0-9]+)?:///(.*)", re.DOTALL)
_QUERY_PATTERN = re.compile(r"(.*)(\?[a-z_]+=[^/?]*)", re.DOTALL)


def sqlite_url(database: Path) -> str:
    """Address of a SQLite file, percent-encoded, as Optuna's own commands take it, too.

    Raises:
        ConfigError: the path is not UTF-8.
    """
    return SQLITE_PREFIX + _quote_path(database)


def mlflow_sqlite_url(database: Path) -> str:
    """The same for MLflow.

    The driver is named where anything is encoded: of `sqlite:///…` MLflow makes the folder
    without decoding it, of an address with a driver it makes none (mlflow 3.17,
    store/db/utils.py, _make_parent_dirs_if_sqlite).
    """
    quoted = _quote_path(database)
    return (SQLITE_PREFIX if quoted == str(database) else _DRIVER_PREFIX) + quoted


def is_sqlite_url(url: str) -> bool:
    """True if an address names a SQLite file."""
    return _URL_PATTERN.fullmatch(url) is not None


def parse_sqlite_url(url: str) -> tuple[Path, str]:
    """The file that an address of a user's names, absolute, and its settings, e.g. `?timeout=5`.

    The path is taken as it stands if its folder exists, since people paste paths; else it is
    decoded, as the addresses that are printed are encoded. A leading `~` is the home folder.

    Raises:
        ConfigError: no file is named.
    """
    match = _URL_PATTERN.fullmatch(url)
    if match is None or not match[1]:
        raise ConfigError(f"{url!r} names no file; use {SQLITE_PREFIX}FILE")
    plain, settings = match[1], ""
    if (query := _QUERY_PATTERN.fullmatch(plain)) is not None:
        plain, settings = query[1], query[2]
    path = expand_user_path(plain)
    if not path.parent.is_dir():
        path = expand_user_path(unquote(plain))
    return path.absolute(), settings


def _quote_path(database: Path) -> str:
    try:
        return quote(str(database))
    except UnicodeEncodeError:
        raise ConfigError(
            f"{str(database)!r}: the path of a database must be UTF-8; rename the folder, or name "
            "another --workspace"
        ) from None
