"""Where Optuna keeps its index: the workspace's SQLite file, or a database of the user's own."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from harness.errors import ConfigError, StudyStoppedError, UserError
from harness.paths import Workspace
from harness.search.addresses import SQLITE, file_address, is_file_address, read_file_address
from harness.search.database import (
    BUSY_TIMEOUT_S,
    explain,
    is_damaged,
    move_aside,
    opening,
    write_ahead,
)
from harness.search.mounts import refuse_remote
from harness.search.tracker import redacted, refuse_secret

OPTION = "--storage"
SERVERS = ("postgresql", "mysql")
_EXAMPLE = "postgresql+psycopg://USER@HOST/DATABASE"

Where = Path | str  # a SQLite file, or the address of a server's database


def find_storage(workspace: Workspace, url: str | None) -> Where:
    """The workspace's own optuna.db, or what was asked for.

    Raises:
        ConfigError: it is no address of a database, or has a password in it.
    """
    if url is None:
        return workspace.optuna_db
    url = url.strip()
    refuse_secret(url, OPTION)
    if is_file_address(url) and url != SQLITE:
        path, settings = read_file_address(url)
        if settings:
            raise ConfigError(f"{OPTION} {url!r}: a file takes no settings; leave {settings} out")
        return path
    dialect, separator, rest = url.partition("://")
    if dialect.partition("+")[0] in SERVERS and separator and rest:
        return url
    raise ConfigError(f"{OPTION} {url!r}: use {_EXAMPLE}, or {SQLITE}FILE for a file")


def open_storage(where: Where, say: Callable[[str], None] = lambda _: None) -> RDBStorage:
    """Open the database, with its tables created if absent; a SQLite file in write-ahead mode.

    A damaged file is moved aside, which is said; the studies in it are rebuilt from their folders
    when they are run again.

    Raises:
        UserError: a file would lie on a network or FUSE file system, is locked, or can only be
            read; or the server's database cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if isinstance(where, str):
        return _connect(where)
    refuse_remote(where)
    with _usable(where), opening(where):
        if is_damaged(where):
            aside = move_aside(where)
            say(f"{where} was damaged: moved to {aside.name}, and rebuilt from the trial folders")
        write_ahead(where)
        return RDBStorage(address(where), engine_kwargs={"connect_args": _PATIENT})


def address(where: Where) -> str:
    """As Optuna's own commands take it."""
    return where if isinstance(where, str) else file_address(where)


def forget_study(where: Where, name: str) -> bool:
    """Remove the Optuna study of that name, whose folder is gone; whether there was one."""
    if isinstance(where, Path) and not where.exists():
        return False
    storage = open_storage(where)
    if name not in optuna.get_all_study_names(storage):
        return False
    optuna.delete_study(study_name=name, storage=storage)
    return True


@contextmanager
def losing_none(where: Where) -> Iterator[None]:
    """While this lasts a database that fails ends the study with a clear word.

    Raises:
        StudyStoppedError: it cannot be reached any more; the folders hold all that has happened.
    """
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        reason = explain(where, error) if isinstance(where, Path) else None
        raise StudyStoppedError(
            f"{reason or f'{address(where)}: {_first_line(error)}'}; nothing is lost, and the same "
            "command continues once the database can be used again"
        ) from error


@contextmanager
def _usable(database: Path) -> Iterator[None]:
    """Turn what SQLite says of a file that is locked or read-only into one line for the user."""
    try:
        yield
    except (sqlite3.Error, optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        reason = explain(database, error)
        raise UserError(reason or f"{database}: {_first_line(error)}") from error
    except RuntimeError as error:
        raise UserError(
            f"{_other_version(database, error)}, or move the file aside: the next run of each "
            "study enters its trials again from their folders"
        ) from error


def _other_version(where: Where, error: RuntimeError) -> str:
    """What Optuna says of tables of another version: an error of no class of its own."""
    text = str(error).replace("$STORAGE_URL", address(where)).rstrip(".")
    return f"{redacted(address(where))}: {text}"


_PATIENT: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S}


def _connect(url: str) -> RDBStorage:
    try:
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except ImportError:
        driver = "pymysql" if url.startswith("mysql") else "psycopg[binary]"
        raise UserError(
            f"{OPTION} {url}: its driver is not installed; pip install '{driver}', and name it in "
            f"the address, e.g. {_EXAMPLE}"
        ) from None
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, ValueError) as error:
        raise UserError(f"{OPTION} {url}: cannot be opened: {_first_line(error)}") from error
    except RuntimeError as error:
        raise UserError(_other_version(url, error)) from error


def _first_line(error: BaseException) -> str:
    """What a database said, without the statement and without secrets."""
    text = str(error.__cause__ or error).strip()
    return redacted(text.splitlines()[0] if text else type(error).__name__)[:300]
