"""URLs of SQLite files, as SQLAlchemy, Optuna and MLflow read them.

A URL is percent-encoded and a path is not: in a folder `a%20b` or `why?` the path used as a URL
would name another file.
"""

import re
from pathlib import Path
from urllib.parse import quote, unquote

from harness.core.errors import ConfigError
from harness.core.paths import expand_user_path

SQLITE_PREFIX = "sqlite:///"
_DRIVER_PREFIX = "sqlite+pysqlite:///"
_URL_PATTERN = re.compile(r"sqlite(?:\+[a-z0-9]+)?:///(.*)", re.DOTALL)
# Only `?name=value` at the end is a query: `?` is legal in the names of folders.
_QUERY_PATTERN = re.compile(r"(.*)(\?[a-z_]+=[^/?]*)", re.DOTALL)


def sqlite_url(database: Path) -> str:
    """Percent-encoded URL of a SQLite file; Optuna's own commands accept it too.

    Raises:
        ConfigError: the path is not UTF-8.
    """
    return SQLITE_PREFIX + _quote_path(database)


def mlflow_sqlite_url(database: Path) -> str:
    """URL of a SQLite file for MLflow, with the driver's name if any character is encoded."""
    # For `sqlite:///…` MLflow creates the parent folder without decoding the URL; for a URL with a
    # driver it creates none (mlflow 3.17, store/db/utils.py, _make_parent_dirs_if_sqlite).
    quoted = _quote_path(database)
    return (SQLITE_PREFIX if quoted == str(database) else _DRIVER_PREFIX) + quoted


def is_sqlite_url(url: str) -> bool:
    """True for the URL of a SQLite file."""
    return _URL_PATTERN.fullmatch(url) is not None


def parse_sqlite_url(url: str) -> tuple[Path, str]:
    """Split a user's URL into the absolute path of its file and its query, e.g. `?timeout=5`.

    A leading `~` is the home folder.

    Raises:
        ConfigError: the URL does not name a file.
    """
    match = _URL_PATTERN.fullmatch(url)
    if match is None or not match[1]:
        raise ConfigError(f"{url!r} does not name a file; use {SQLITE_PREFIX}FILE")
    plain, settings = match[1], ""
    if (query := _QUERY_PATTERN.fullmatch(plain)) is not None:
        plain, settings = query[1], query[2]
    # Users paste both paths and the encoded URLs that commands print. Where the folder of the plain
    # text exists, it is a path.
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
