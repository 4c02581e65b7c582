"""URI of the MLflow store of a study, checked before anything connects to it."""

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
# Without a server: MLflow's client writes into these databases directly.
DATABASE_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")
DATABRICKS = "databricks"  # the only valid URI without a scheme
SECRET_PATTERN = re.compile(r"passw|pwd|token|secret", re.IGNORECASE)


@dataclass(frozen=True)
class TrackingStore:
    """MLflow store of a study, with the name of its experiment.

    Args:
        uri: URI of the store, without credentials.
        experiment: name for creating the experiment; later it is found by its tag.
        is_user_named: True if the user chose that name.
        artifacts: folder of the experiment's artifacts, as a URI; None if the server chooses it.
        database: the workspace's own mlflow.db, which may be rebuilt; None for another store.
        file: SQLite file of the store, the workspace's own or another; None for a server.
    """

    uri: str
    experiment: str
    is_user_named: bool
    artifacts: str | None
    database: Path | None
    file: Path | None = None

    @property
    def option(self) -> str:
        """Command-line option that selects this store; empty for the workspace's own."""
        return "" if self.database is not None else f" --tracking-uri {self.uri}"

    def sync_command(self, paths: StudyPaths) -> str:
        """Command that brings the store up to date with a study."""
        return f"harness sync --study {paths.study.name}{self.option}"


def resolve_tracking_store(
    workspace: Workspace,
    paths: StudyPaths,
    study_id: str,
    *,
    uri: str | None = None,
    experiment: str | None = None,
) -> TrackingStore:
    """Select the store: `uri`, otherwise MLFLOW_TRACKING_URI, otherwise the workspace's mlflow.db.

    Raises:
        ConfigError: the URI is invalid or contains a password.
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
    """Check a tracking URI.

    Returns:
        The URI, with the path of a SQLite file made absolute.

    Raises:
        ConfigError: it contains a password (not repeated in the message) or names a folder.
    """
    refuse_secret(uri, option)
    scheme, colon, _ = uri.partition(":")
    if uri != DATABRICKS and (not colon or scheme == "file"):
        raise ConfigError(
            f"{option} {uri!r}: MLflow does not support plain folders; "
            "use http://HOST:PORT, or sqlite:///FILE for a file"
        )
    if is_sqlite_url(uri):
        path, settings = parse_sqlite_url(uri)
        return mlflow_sqlite_url(path) + settings
    return uri


def refuse_secret(uri: str, option: str) -> None:
    """Refuse a URI that contains a password or token.

    Raises:
        ConfigError: the message does not repeat the secret.
    """
    if _has_secret(uri):
        raise ConfigError(
            f"{option}: the URL must not contain a password or token, because it is printed and "
            "logged; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, for a server, and its own variable, e.g. PGPASSWORD, for a "
            "database"
        )


def redact_secrets(text: str) -> str:
    """Text with all credentials replaced by `***`."""
    for name in SECRET_VARIABLES:
        secret = os.environ.get(name)
        text = text.replace(secret, "***") if secret else text
    return re.sub(r"://[^\s/]*@", "://***@", text)


def _has_secret(uri: str) -> bool:
    # http: any user name before @ counts, as a token may take its place. Databases: only user:pw@,
    # because a plain user name is normal there. Otherwise a query such as ?password=….
    scheme, _, rest = uri.partition("://")
    if scheme in ("http", "https") and "@" in rest:
        return True
    if not scheme.startswith("sqlite") and re.match(r"[^@]*:.*@", rest):
        return True
    try:
        query = parse_qsl(urlsplit(uri).query, keep_blank_values=True)
    except ValueError:  # e.g. an unclosed bracket; MLflow itself reports an invalid URI
        return False
    return any(SECRET_PATTERN.search(key) for key, _ in query)
