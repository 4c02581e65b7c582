"""Where a study is mirrored to: the address, checked before anything connects to it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths, Workspace
from harness.core.sqlite_urls import is_sqlite_url, mlflow_sqlite_url, parse_sqlite_url

URI_VARIABLE = "MLFLOW_TRACKING_URI"
SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD")
DATABASE_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")  # MLflow writes into these by itself
DATABRICKS = "databricks"  # the one address that is a word
SECRET_PATTERN = re.compile(r"passw|pwd|token|secret", re.IGNORECASE)


@dataclass(frozen=True)
class TrackingStore:
    """An MLflow store, and what the study's experiment is to be called there.

    Args:
        uri: the address, without any credentials.
        experiment: the name that the experiment gets when it is made; later it is found by its tag.
        is_user_named: the user chose that name.
        artifacts: folder of the experiment's artifacts, as a URI; None: the server chooses.
        database: the workspace's own mlflow.db, if that is the store; it may be made anew.
        file: the SQLite file that is the store, the workspace's own or another; None: a server.
    """

    uri: str
    experiment: str
    is_user_named: bool
    artifacts: str | None
    database: Path | None
    file: Path | None = None

    @property
    def option(self) -> str:
        """What a command needs to find the store again."""
        return "" if self.database is not None else f" --tracking-uri {self.uri}"

    def sync_command(self, paths: StudyPaths) -> str:
        """What the user types to bring the store up to a study."""
        return f"harness sync --study {paths.study.name}{self.option}"


def resolve_tracking_store(
    workspace: Workspace,
    paths: StudyPaths,
    study_id: str,
    *,
    uri: str | None = None,
    experiment: str | None = None,
) -> TrackingStore:
    """The store that was asked for, else that of MLFLOW_TRACKING_URI, else the workspace's own.

    Raises:
        ConfigError: an address with a password in it, or that is none.
    """
    option = URI_VARIABLE if uri is None else "--tracking-uri"
    uri = os.environ.get(URI_VARIABLE, "").strip() or None if uri is None else uri.strip()
    own_uri = mlflow_sqlite_url(workspace.mlflow_db)
    uri = own_uri if uri is None else check_tracking_uri(uri, option)
    local = urlsplit(uri).scheme.partition("+")[0] in DATABASE_SCHEMES
    file = parse_sqlite_url(uri)[0] if is_sqlite_url(uri) else None
    return TrackingStore(
        uri=uri,
        experiment=experiment or paths.name,
        is_user_named=experiment is not None,
        artifacts=(workspace.mlruns / study_id).as_uri() if local else None,
        database=workspace.mlflow_db if uri == own_uri else None,
        file=file,
    )


def check_tracking_uri(uri: str, option: str) -> str:
    """The address itself; a SQLite file's is made absolute.

    Raises:
        ConfigError: it holds a password, or is a folder. The message does not repeat a password.
    """
    refuse_secret(uri, option)
    scheme, colon, _ = uri.partition(":")
    if uri != DATABRICKS and (not colon or scheme == "file"):
        raise ConfigError(
            f"{option} {uri!r}: MLflow keeps nothing in plain folders; "
            "use http://HOST:PORT, or sqlite:///FILE for a file"
        )
    if is_sqlite_url(uri):
        path, settings = parse_sqlite_url(uri)
        return mlflow_sqlite_url(path) + settings
    return uri


def refuse_secret(uri: str, option: str) -> None:
    """Raise ConfigError where an address holds a password; the message does not repeat it."""
    if _has_secret(uri):
        raise ConfigError(
            f"{option}: an address must hold no password or token, as it is printed and logged; "
            "for a server set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN; for a database its own variable, e.g. PGPASSWORD"
        )


def redact_secrets(text: str) -> str:
    """The text without credentials."""
    for name in SECRET_VARIABLES:
        secret = os.environ.get(name)
        text = text.replace(secret, "***") if secret else text
    return re.sub(r"://[^\s/]*@", "://***@", text)


def _has_secret(uri: str) -> bool:
    scheme, _, rest = uri.partition("://")
    if scheme in ("http", "https") and "@" in rest:
        return True
    if not scheme.startswith("sqlite") and re.match(r"[^@]*:.*@", rest):
        return True
    try:
        query = parse_qsl(urlsplit(uri).query, keep_blank_values=True)
    except ValueError:  # e.g. a bracket that is not closed; MLflow says what it makes of it
        return False
    return any(SECRET_PATTERN.search(key) for key, _ in query)
