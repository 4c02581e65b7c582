"""Opening MLflow: short time-outs, a sound database, the experiment of the study."""

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

from harness.errors import HarnessError, TrackingError, UserError
from harness.search.database import (
    BUSY_TIMEOUT_S,
    explain,
    is_damaged,
    move_aside,
    opening,
    write_ahead,
)
from harness.search.relocation import STUDY_TAG, follow_folder, local_path
from harness.search.tracker import Tracker, redacted

KIND_TAG = "mlflow.experimentKind"
SETTINGS = {
    # One call against a dead server takes four minutes by MLflow's own settings.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for results
}
LONGEST_MESSAGE = 400
_SCHEMA = re.compile(r"database schema \(found version (\w+), but expected \w+\)")

# MLflow keeps one engine per address as long as the process lives, and with it a file that was
# replaced. So the address of a file changes, in the last digits of the time-out, with each file.
_files: dict[Path, int] = {}


def open_client(tracker: Tracker, tell: Callable[[str], None]) -> mlflow.MlflowClient:
    """A client of the store; the workspace's own database is made if it is absent or damaged."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # else: every retry
    for variable, value in SETTINGS.items():
        os.environ.setdefault(variable, value)
    if tracker.database is None:
        client = mlflow.MlflowClient(tracker.uri)
        if tracker.artifacts is not None:
            _follow(client, tracker, tell)
        return client
    with opening(tracker.database):
        if is_damaged(tracker.database):
            aside = move_aside(tracker.database)
            tell(
                f"{tracker.database.name} is damaged: it is now {aside.name}, and rebuilt from the "
                "study's folder; other studies return with `harness sync --study NAME`"
            )
        new = not tracker.database.exists()
        _files[tracker.database] = _files.get(tracker.database, 0) + new
        timeout = f"{BUSY_TIMEOUT_S}.{_files[tracker.database]:04d}"
        client = mlflow.MlflowClient(f"{tracker.uri}?timeout={timeout}")
        client.search_experiments(max_results=1)  # makes the tables
        if new:
            write_ahead(tracker.database)
        _follow(client, tracker, tell)
    return client


def _follow(client: mlflow.MlflowClient, tracker: Tracker, tell: Callable[[str], None]) -> None:
    """Correct the places of files where the workspace was moved, or say that they lie elsewhere."""
    artifacts = local_path(tracker.artifacts)
    assert artifacts is not None, "a store that MLflow writes by itself"
    if tracker.file is not None:
        client.search_experiments(max_results=1)  # makes the tables
        study_id = None if tracker.database is not None else artifacts.name
        line = follow_folder(tracker.file, artifacts.parent, study_id)
        if line:
            tell(line)
            # Of each run the place that it had is remembered as long as the process lives.
            tracking_utils._artifact_repos_cache.clear()
        return
    found = find_experiment(client, tracker, artifacts.name)
    place = None if found is None else local_path(found.artifact_location)
    if place is not None and place != artifacts:
        tell(
            f"MLflow at {tracker.uri} keeps the files of this study in {place}, and this workspace "
            f"has {artifacts}; to keep them here: ln -s {artifacts} {place}, or change "
            "experiments.artifact_location and runs.artifact_uri in that database"
        )


def find_experiment(
    client: mlflow.MlflowClient, tracker: Tracker, study_id: str
) -> Experiment | None:
    """The study's experiment, by its tag; None if there is none.

    Raises:
        UserError: it was deleted.
    """
    wanted = f"tags.`{STUDY_TAG}` = '{study_id}'"
    found = client.search_experiments(view_type=ViewType.ALL, filter_string=wanted)
    alive = [one for one in found if one.lifecycle_stage == "active"]
    if found and not alive:
        raise _deleted(found[0], tracker)
    return min(alive, key=lambda one: one.experiment_id, default=None)


def make_experiment(client: mlflow.MlflowClient, tracker: Tracker, study_id: str) -> str:
    """The id of a new experiment, or of one that the user named and that is nobody's yet.

    Raises:
        UserError: the name is taken, also by an experiment that was deleted.
    """
    same = _nobodys(client, tracker, study_id)
    if same is None:
        # Without the second one MLflow's pages open as a tool for chat models.
        tags = {STUDY_TAG: study_id, KIND_TAG: "custom_model_development"}
        return str(
            client.create_experiment(
                tracker.experiment, artifact_location=tracker.artifacts, tags=tags
            )
        )
    client.set_experiment_tag(same.experiment_id, STUDY_TAG, study_id)
    return str(same.experiment_id)


def check_experiment(tracker: Tracker, study_id: str, tell: Callable[[str], None]) -> None:
    """Check that the study has its experiment, or that the name of a new one is free.

    Raises:
        UserError: it has not; the message says what to do.
        TrackingError: MLflow cannot be reached.
    """
    try:
        client = open_client(tracker, tell)
        if find_experiment(client, tracker, study_id) is None:
            _nobodys(client, tracker, study_id)
    except HarnessError:
        raise
    except Exception as error:
        raised = explained(error, tracker)
        text = f"{type(raised).__name__}: {redacted(str(raised))}"
        raise (raised if isinstance(raised, HarnessError) else TrackingError(text)) from error


def _nobodys(client: mlflow.MlflowClient, tracker: Tracker, study_id: str) -> Experiment | None:
    """The experiment that the user named, if it is nobody's yet; None: the name is free.

    Raises:
        UserError: the name is taken, also by an experiment that was deleted.
    """
    same = client.get_experiment_by_name(tracker.experiment)
    if same is None:
        return None
    if same.lifecycle_stage != "active":
        raise _deleted(same, tracker)
    if not tracker.named or same.tags.get(STUDY_TAG, study_id) != study_id:
        raise UserError(
            f"MLflow at {tracker.uri} has an experiment {tracker.experiment} that is not this "
            "study's; choose another --study, or another name for it with --experiment"
        )
    return same


class StoreFileError(TrackingError):
    """The database of MLflow is locked, can only be read, or is of another version of MLflow."""


def explained(error: Exception, tracker: Tracker) -> Exception:
    """What to tell the user of a failed call: one line without secrets, with the way out."""
    reason = None if tracker.file is None else explain(tracker.file, error)
    if reason is not None:
        return StoreFileError(reason)
    if not isinstance(error, MlflowException):
        return error
    text = redacted(" ".join(str(error).split()))
    if (found := _SCHEMA.search(text)) is not None:
        return StoreFileError(_of_other_version(found[1], tracker))
    text = text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + " …"
    if _is_refusal(error):
        return UserError(
            f"MLflow at {tracker.uri} refuses these credentials; set MLFLOW_TRACKING_USERNAME and "
            f"MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN ({text})"
        )
    return TrackingError(f"MLflow at {tracker.uri}: {text}")


def _of_other_version(revision: str, tracker: Tracker) -> str:
    """What to do with tables of another MLflow; `mlflow db upgrade` knows older ones only."""
    own = tracker.database is not None
    migrations = Path(db_migrations.__file__).parent / "versions"
    if any(path.name.startswith(f"{revision}_") for path in migrations.iterdir()):
        return (
            f"MLflow at {tracker.uri}: its tables are of an older MLflow than the installed "
            f"{mlflow.__version__}; copy the database, then run: mlflow db upgrade {tracker.uri}"
        )
    aside = ", or move the file aside: harness sync --study NAME rebuilds it" if own else ""
    return (
        f"MLflow at {tracker.uri}: its tables (version {revision}) are of a newer MLflow than the "
        f"installed {mlflow.__version__}, which cannot use them, nor can `mlflow db upgrade`; "
        f"update MLflow (pip install -U mlflow){aside}"
    )


def _deleted(experiment: Experiment, tracker: Tracker) -> UserError:
    number = experiment.experiment_id
    return UserError(
        f"the MLflow experiment {experiment.name} (id {number}) was deleted; restore it: "
        f"MLFLOW_TRACKING_URI={tracker.uri} mlflow experiments restore --experiment-id {number}, "
        "or choose another --study"
    )


def _is_refusal(error: MlflowException) -> bool:
    """MLflow wraps a plain 401 or 403 of a server or proxy in an error of its own."""
    return error.error_code in ("UNAUTHENTICATED", "PERMISSION_DENIED") or any(
        f"error code {status}" in str(error) for status in (401, 403)
    )
