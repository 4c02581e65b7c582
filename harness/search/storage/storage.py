"""Database of Optuna, at the location that `location.resolve_storage` returns.

The database is an index only. Every trial is in its folder too, and `rebuild` restores the rows.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from harness.core.errors import StudyStoppedError, UserError
from harness.core.sqlite_file import (
    BUSY_TIMEOUT_S,
    enable_wal,
    exclusive_access,
    explain_sqlite_error,
    is_damaged,
    move_damaged_file,
    refuse_network_filesystem,
)
from harness.search.storage.location import (
    EXAMPLE_URL,
    OPTION,
    StorageLocation,
    storage_url,
)
from harness.tracking.uri import redact_secrets


def open_storage(
    location: StorageLocation, log: Callable[[str], None] = lambda _: None
) -> RDBStorage:
    """Open the database and create its tables if they are absent.

    A SQLite file is put into write-ahead mode: 63 trials per second of 8 processes instead of 5,
    measured with 6 parameters and 5 reports. A damaged file is moved aside and reported; its
    studies are rebuilt from their folders when they run again.

    Args:
        location: a SQLite file, or the URL of a database server.
        log: takes one line about a damaged file.

    Raises:
        UserError: the file is locked, read-only, or on a network or FUSE file system; or the
            server's database cannot be opened.
    """
    # Optuna's lines at level INFO would break the progress bars, which use standard error as well.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if isinstance(location, str):
        return _connect(location)
    # Checked before the file is created: a refused workspace stays without a database.
    refuse_network_filesystem(location)
    with _raise_user_errors(location), exclusive_access(location):
        if is_damaged(location):
            damaged_copy = move_damaged_file(location)
            log(
                f"{location} was damaged: moved to {damaged_copy.name} and rebuilt from the "
                "trial folders"
            )
        enable_wal(location)
        return RDBStorage(storage_url(location), engine_kwargs={"connect_args": _CONNECT_ARGS})


def delete_optuna_study(location: StorageLocation, name: str) -> bool:
    """Remove an Optuna study whose folder was deleted.

    Returns:
        True if the database contained it.
    """
    if isinstance(location, Path) and not location.exists():
        return False
    storage = open_storage(location)
    if name not in optuna.get_all_study_names(storage):
        return False
    optuna.delete_study(study_name=name, storage=storage)
    return True


@contextmanager
def stop_on_database_error(location: StorageLocation) -> Iterator[None]:
    """Turn database errors inside the block into a stop of the study that can be resumed.

    Raises:
        StudyStoppedError: the database failed; every result is in the trial folders.
    """
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        reason = explain_sqlite_error(location, error) if isinstance(location, Path) else None
        raise StudyStoppedError(
            f"{reason or f'{storage_url(location)}: {_first_line(error)}'}; nothing is lost, and "
            "the same command continues once the database can be used again"
        ) from error


@contextmanager
def _raise_user_errors(database: Path) -> Iterator[None]:
    """Turn errors of a locked, read-only or outdated SQLite file into one line for the user."""
    try:
        yield
    except (sqlite3.Error, optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        reason = explain_sqlite_error(database, error)
        raise UserError(reason or f"{database}: {_first_line(error)}") from error
    except RuntimeError as error:
        raise UserError(
            f"{_version_error_text(database, error)}, or move the file aside: the next run of each "
            "study rebuilds its rows from the trial folders"
        ) from error


def _version_error_text(location: StorageLocation, error: RuntimeError) -> str:
    """Optuna's message about tables of another version, which it raises as a plain RuntimeError."""
    text = str(error).replace("$STORAGE_URL", storage_url(location)).rstrip(".")
    return f"{redact_secrets(storage_url(location))}: {text}"


_CONNECT_ARGS: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S}


def _connect(url: str) -> RDBStorage:
    try:
        # Without pool_pre_ping the first write after a restart of the server fails, with a
        # StorageInternalError that blames invalid data (measured with PostgreSQL 15).
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except ImportError:
        driver = "pymysql" if url.startswith("mysql") else "psycopg[binary]"
        raise UserError(
            f"{OPTION} {url}: the database driver is not installed; pip install '{driver}', and "
            f"name it in the URL, e.g. {EXAMPLE_URL}"
        ) from None
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, ValueError) as error:
        raise UserError(f"{OPTION} {url}: cannot be opened: {_first_line(error)}") from error
    except RuntimeError as error:
        raise UserError(_version_error_text(url, error)) from error


def _first_line(error: BaseException) -> str:
    """First line of a database error, without the SQL statement and without secrets."""
    text = str(error.__cause__ or error).strip()
    return redact_secrets(text.splitlines()[0] if text else type(error).__name__)[:300]
