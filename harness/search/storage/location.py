"""Location of Optuna's database: the workspace's SQLite file, or a user-defined database."""

from pathlib import Path

from harness.core.errors import ConfigError
from harness.core.paths import Workspace
from harness.core.sqlite_urls import SQLITE_PREFIX, is_sqlite_url, parse_sqlite_url, sqlite_url
from harness.tracking.uri import refuse_secret

OPTION = "--storage"
SERVERS = ("postgresql", "mysql")
EXAMPLE_URL = "postgresql+psycopg://USER@HOST/DATABASE"

StorageLocation = Path | str  # a SQLite file, or the URL of a database server


def resolve_storage(workspace: Workspace, url: str | None) -> StorageLocation:
    """Location of the database: the `--storage` URL, or the workspace's optuna.db.

    Raises:
        ConfigError: the URL is not that of a database, or contains a password.
    """
    if url is None:
        return workspace.optuna_db
    url = url.strip()
    refuse_secret(url, OPTION)  # first, so that no other message repeats the password
    if is_sqlite_url(url) and url != SQLITE_PREFIX:
        path, settings = parse_sqlite_url(url)
        if settings:
            raise ConfigError(f"{OPTION} {url!r}: a file takes no settings; remove {settings}")
        return path
    dialect, separator, rest = url.partition("://")
    if dialect.partition("+")[0] in SERVERS and separator and rest:
        return url
    raise ConfigError(f"{OPTION} {url!r}: use {EXAMPLE_URL}, or {SQLITE_PREFIX}FILE for a file")


def storage_url(location: StorageLocation) -> str:
    """URL of the database as Optuna's own commands accept it."""
    return location if isinstance(location, str) else sqlite_url(location)
