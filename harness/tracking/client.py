"""MLflow client of a store: short time-outs, database repair, the experiment of a study."""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import mlflow
from mlflow.entities import Experiment, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store import db_migrations
from mlflow.tracking._tracking_service import utils as tracking_utils

from harness.core.errors import HarnessError, TrackingError, UserError
from harness.core.sqlite_file import (
    BUSY_TIMEOUT_S,
    enable_wal,
    exclusive_access,
    explain_sqlite_error,
    is_damaged,
    move_damaged_file,
)
from harness.tracking.relocation import local_path, relocate_artifacts
from harness.tracking.tags import STUDY_TAG
from harness.tracking.uri import TrackingStore, redact_secrets

KIND_TAG = "mlflow.experimentKind"
CLIENT_SETTINGS = {
    # With MLflow's defaults one call to an unreachable server blocks for 246 s (measured).
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for results
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
MAX_MESSAGE_LENGTH = 400
_SCHEMA_PATTERN = re.compile(r"database schema \(found version (\w+), but expected \w+\)")

# MLflow caches one database engine per URI for the life of the process, and keeps writing to a file
# that was replaced. So the URI changes with each new file, in the last digits of the time-out.
_file_generations: dict[Path, int] = {}


def open_client(store: TrackingStore, log: Callable[[str], None]) -> mlflow.MlflowClient:
    """Open the store; the workspace's own database is created if it is absent or damaged.

    Args:
        store: the store.
        log: takes one line about repairs and moved files.
    """
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # warns of each retry
    # It logs the traceback of each error of the database, which is raised as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    for variable, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(variable, value)
    if store.database is None:
        client = mlflow.MlflowClient(store.uri)
        if store.artifacts is not None:
            _relocate_experiment(client, store, log)
        return client
    with exclusive_access(store.database):
        if is_damaged(store.database):
            damaged_copy = move_damaged_file(store.database)
            log(
                f"{store.database.name} was damaged: moved to {damaged_copy.name} and rebuilt from "
                "the study's folder; restore other studies with `harness sync --study NAME`"
            )
        new = not store.database.exists()
        _file_generations[store.database] = _file_generations.get(store.database, 0) + new
        timeout = f"{BUSY_TIMEOUT_S}.{_file_generations[store.database]:04d}"
        client = mlflow.MlflowClient(f"{store.uri}?timeout={timeout}")
        client.search_experiments(max_results=1)  # the first call creates the tables
        if new:
            enable_wal(store.database)  # MLflow does not; the mode persists in the file
        _relocate_experiment(client, store, log)
    return client


def _relocate_experiment(
    client: mlflow.MlflowClient, store: TrackingStore, log: Callable[[str], None]
) -> None:
    """Correct artifact paths after the workspace was moved, or report that they differ."""
    artifacts = local_path(store.artifacts)
    assert artifacts is not None, "a store with local artifacts"
    if store.file is not None:
        client.search_experiments(max_results=1)  # the first call creates the tables
        study_id = None if store.database is not None else artifacts.name
        line = relocate_artifacts(store.file, artifacts.parent, study_id)
        if line:
            log(line)
            # MLflow caches the artifact location of each run for the life of the process.
            tracking_utils._artifact_repos_cache.clear()
        return
    experiment = find_experiment(client, store, artifacts.name)
    folder = None if experiment is None else local_path(experiment.artifact_location)
    if folder is not None and folder != artifacts:
        log(
            f"MLflow at {store.uri} stores the files of this study in {folder}, but this workspace "
            f"uses {artifacts}; to store them here: ln -s {artifacts} {folder}, or change "
            "experiments.artifact_location and runs.artifact_uri in that database"
        )


def find_experiment(
    client: mlflow.MlflowClient, store: TrackingStore, study_id: str
) -> Experiment | None:
    """Find the study's experiment by its tag.

    Returns:
        None if the store does not contain it.

    Raises:
        UserError: the experiment was deleted.
    """
    tag_filter = f"tags.`{STUDY_TAG}` = '{study_id}'"
    experiments = client.search_experiments(view_type=ViewType.ALL, filter_string=tag_filter)
    active = [experiment for experiment in experiments if experiment.lifecycle_stage == "active"]
    if experiments and not active:
        raise _deleted_error(experiments[0], store)
    return min(active, key=lambda experiment: experiment.experiment_id, default=None)


def ensure_experiment(client: mlflow.MlflowClient, store: TrackingStore, study_id: str) -> str:
    """Find the study's experiment, or create it, or claim an existing one that the user named.

    Returns:
        Id of the experiment.

    Raises:
        UserError: the experiment was deleted, or its name belongs to another study.
    """
    if (experiment := find_experiment(client, store, study_id)) is not None:
        return str(experiment.experiment_id)
    existing = _claimable_experiment(client, store, study_id)
    if existing is None:
        # Without KIND_TAG MLflow's user interface opens the experiment in its view for LLM apps.
        tags = {STUDY_TAG: study_id, KIND_TAG: "custom_model_development"}
        return str(
            client.create_experiment(store.experiment, artifact_location=store.artifacts, tags=tags)
        )
    client.set_experiment_tag(existing.experiment_id, STUDY_TAG, study_id)
    return str(existing.experiment_id)


def check_experiment(store: TrackingStore, study_id: str, log: Callable[[str], None]) -> None:
    """Check that the study has its experiment, or that the name of a new one is free.

    Raises:
        UserError: the experiment was deleted, or its name belongs to another study.
        TrackingError: MLflow cannot be reached.
    """

    def check(client: mlflow.MlflowClient) -> None:
        if find_experiment(client, store, study_id) is None:
            _claimable_experiment(client, store, study_id)

    call_store(store, check, log)


def call_store(
    store: TrackingStore,
    work: Callable[[mlflow.MlflowClient], None],
    log: Callable[[str], None],
) -> None:
    """Call MLflow; every failure becomes one line without secrets.

    Raises:
        UserError, TrackingError: as `check_experiment`, or those of `work`.
    """
    try:
        work(open_client(store, log))
    except HarnessError:
        raise
    except Exception as error:
        user_error = to_user_error(error, store)
        text = f"{type(user_error).__name__}: {redact_secrets(str(user_error))}"
        raise (
            user_error if isinstance(user_error, HarnessError) else TrackingError(text)
        ) from error


def _claimable_experiment(
    client: mlflow.MlflowClient, store: TrackingStore, study_id: str
) -> Experiment | None:
    """Existing experiment that the user named and that belongs to no other study.

    Returns:
        None if no experiment has the name.

    Raises:
        UserError: the name belongs to another study or to a deleted experiment. MLflow never frees
            the name of a deleted experiment.
    """
    existing = client.get_experiment_by_name(store.experiment)
    if existing is None:
        return None
    if existing.lifecycle_stage != "active":
        raise _deleted_error(existing, store)
    if not store.is_user_named or existing.tags.get(STUDY_TAG, study_id) != study_id:
        raise UserError(
            f"MLflow at {store.uri} has an experiment {store.experiment} of another study or "
            "project; choose another --study, or another experiment name with --experiment"
        )
    return existing


class StoreFileError(TrackingError):
    """MLflow's database is locked, read-only, or of another version of MLflow."""


def to_user_error(error: Exception, store: TrackingStore) -> Exception:
    """Convert the error of a failed call to one line without secrets that names the remedy."""
    reason = None if store.file is None else explain_sqlite_error(store.file, error)
    if reason is not None:
        return StoreFileError(reason)
    if not isinstance(error, MlflowException):
        return error
    text = redact_secrets(" ".join(str(error).split()))
    if (match := _SCHEMA_PATTERN.search(text)) is not None:
        return StoreFileError(_version_error_text(match[1], store))
    text = text if len(text) <= MAX_MESSAGE_LENGTH else text[:MAX_MESSAGE_LENGTH] + " …"
    if _is_auth_error(error):
        return UserError(
            f"MLflow at {store.uri} rejects the credentials; set MLFLOW_TRACKING_USERNAME and "
            f"MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN ({text})"
        )
    return TrackingError(f"MLflow at {store.uri}: {text}")


def _version_error_text(revision: str, store: TrackingStore) -> str:
    """Remedy for tables of another MLflow version; `mlflow db upgrade` handles older ones only."""
    is_own = store.database is not None
    migrations = Path(db_migrations.__file__).parent / "versions"
    if any(path.name.startswith(f"{revision}_") for path in migrations.iterdir()):
        return (
            f"MLflow at {store.uri}: its tables are of an older MLflow than the installed "
            f"{mlflow.__version__}; back up the database, then run: mlflow db upgrade {store.uri}"
        )
    rebuild = ", or move the file aside: harness sync --study NAME rebuilds it" if is_own else ""
    return (
        f"MLflow at {store.uri}: its tables (version {revision}) are of a newer MLflow than the "
        f"installed {mlflow.__version__}, and `mlflow db upgrade` cannot convert them; "
        f"update MLflow (pip install -U mlflow){rebuild}"
    )


def _deleted_error(experiment: Experiment, store: TrackingStore) -> UserError:
    number = experiment.experiment_id
    return UserError(
        f"the MLflow experiment {experiment.name} (id {number}) was deleted; restore it: "
        f"MLFLOW_TRACKING_URI={store.uri} mlflow experiments restore --experiment-id {number}, "
        "or choose another --study"
    )


def _is_auth_error(error: MlflowException) -> bool:
    """True for rejected credentials.

    MLflow reports a plain 401 or 403 of a server or proxy with a general error code, so the text
    is searched as well.
    """
    return error.error_code in ("UNAUTHENTICATED", "PERMISSION_DENIED") or any(
        f"error code {status}" in str(error) for status in (401, 403)
    )
