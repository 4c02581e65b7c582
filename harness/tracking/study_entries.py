"""Entries of a study in MLflow: free names, rename, removal. Repeated calls complete a killed one.

Entries are found by the study's id. Only then their names and tags are compared.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from typing import TypeVar

import mlflow
from mlflow.entities import Experiment, Run, RunTag, ViewType
from mlflow.entities.model_registry import RegisteredModel
from mlflow.store.entities import PagedList
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from harness.core.errors import UserError
from harness.core.paths import CONFIRM_SUFFIX
from harness.tracking.client import call_store, find_experiment
from harness.tracking.relocation import local_path
from harness.tracking.tags import (
    CONFIRMS_TAG,
    MODEL_VERSIONS_TAG,
    NAME_TAG,
    STUDY_TAG,
    TRIAL_TAG,
)
from harness.tracking.uri import TrackingStore

Entry = TypeVar("Entry")
_DELETED_PREFIX = "deleted "  # of the id in STUDY_TAG: a restored study must not find that entry


def rename_entries(client: mlflow.MlflowClient, study_run: Run, study_id: str, name: str) -> None:
    """Give a study's entries the present name of its folder; nothing is called if they have it.

    These are the tags of runs, LoggedModels and model versions, the registered model, and the
    names of experiment and run, unless the user chose them. The study's own run gets its new name
    last: as long as it has the old one, any writer of the study renames all entries again.

    Args:
        client: MLflow client of the store.
        study_run: the study's own run.
        study_id: id of the study.
        name: present name of the study.
    """
    if study_run.data.tags.get(NAME_TAG) == name:
        return
    experiment = study_run.info.experiment_id
    # Runs of earlier versions have no NAME_TAG, but the study's name.
    old = study_run.data.tags.get(NAME_TAG, study_run.info.run_name)
    for run in _pages(lambda token: client.search_runs([experiment], page_token=token)):
        tag = run.data.tags.get(TRIAL_TAG, "")
        if tag and _renamed(tag, name) != tag:
            client.set_tag(run.info.run_id, TRIAL_TAG, _renamed(tag, name))
    model = _rename_registered_model(client, study_id, name)
    for logged in _pages(lambda token: client.search_logged_models([experiment], page_token=token)):
        tags = {TRIAL_TAG: _renamed(logged.tags.get(TRIAL_TAG, "/"), name)}
        if MODEL_VERSIONS_TAG in logged.tags and model is not None:
            versions = json.loads(logged.tags[MODEL_VERSIONS_TAG])
            named = [version | {"name": model} for version in versions]
            tags[MODEL_VERSIONS_TAG] = json.dumps(named)
        if TRIAL_TAG in logged.tags and not tags.items() <= logged.tags.items():
            client.set_logged_model_tags(logged.model_id, tags)
    if client.get_experiment(experiment).name == old and old != name:
        client.rename_experiment(experiment, name)
    tags = {NAME_TAG: name}
    tags |= {"mlflow.runName": name} if study_run.info.run_name == old else {}
    client.log_batch(study_run.info.run_id, tags=[RunTag(*item) for item in tags.items()])


def check_name_is_free(store: TrackingStore, name: str, study_id: str) -> None:
    """Refuse a new name of a study that another experiment has.

    Raises:
        UserError: the name is taken, or the user must change something in MLflow.
        TrackingError: MLflow cannot be reached.
    """

    def check(client: mlflow.MlflowClient) -> None:
        find_experiment(client, store, study_id)  # raises for one that was deleted in MLflow
        existing = client.get_experiment_by_name(name)
        if existing is not None and existing.tags.get(STUDY_TAG) != study_id:
            raise UserError(
                f"MLflow at {store.uri} has an experiment {name} of another study or project "
                f"({existing.lifecycle_stage}); choose another name"
            )

    call_store(store, check, lambda line: None)


def delete_entries(
    store: TrackingStore, study_id: str, log: Callable[[str], None] = lambda line: None
) -> None:
    """Remove the experiment of a study, its registered models and their files.

    MLflow keeps deleted experiments and never frees their names, so the experiment is renamed
    first. In a SQLite file its rows are removed, too; a server does that with `mlflow gc`.

    Args:
        store: the store.
        study_id: id of the study.
        log: takes one line about repairs of the store.

    Raises:
        UserError: the user must change something in MLflow.
        TrackingError: MLflow cannot be reached, or refused.
    """

    def delete(client: mlflow.MlflowClient) -> None:
        for model in _registered_models(client, study_id):
            client.delete_registered_model(model.name)
        for experiment in _experiments(client, study_id):
            _delete_experiment(client, experiment, study_id)
            if store.file is not None:
                _remove_rows(client, str(experiment.experiment_id))

    call_store(store, delete, log)
    artifacts = local_path(store.artifacts)
    if artifacts is not None:
        shutil.rmtree(artifacts, ignore_errors=True)


def _delete_experiment(client: mlflow.MlflowClient, experiment: Experiment, study_id: str) -> None:
    if experiment.lifecycle_stage != "active":
        return
    number = experiment.experiment_id
    # In this order: whatever is done already, one of both ids still finds the experiment.
    # With its number: a study that was restored and deleted again has the same name and id.
    marked = f"{experiment.name[:150]} ({_DELETED_PREFIX}{study_id}, {number})"
    client.rename_experiment(number, marked)
    client.set_experiment_tag(number, STUDY_TAG, f"{_DELETED_PREFIX}{study_id}")
    client.delete_experiment(number)


def _remove_rows(client: mlflow.MlflowClient, experiment: str) -> None:
    """Remove a deleted experiment from a database file, as `mlflow gc` does.

    The methods are private ones of MLflow (3.17). The command itself would need seconds for each
    call, and an environment variable.
    """
    store = client._tracking_client.store
    if not isinstance(store, SqlAlchemyStore):
        return
    every = ViewType.ALL
    for run in _pages(lambda token: client.search_runs([experiment], "", every, page_token=token)):
        store._hard_delete_run(run.info.run_id)  # type: ignore[no-untyped-call]
    store._hard_delete_experiment(experiment)  # type: ignore[no-untyped-call]


def _experiments(client: mlflow.MlflowClient, study_id: str) -> list[Experiment]:
    """Experiments of a study, also those that an interrupted removal has marked."""
    return [
        experiment
        for tag in (study_id, f"{_DELETED_PREFIX}{study_id}")
        for experiment in client.search_experiments(
            view_type=ViewType.ALL, filter_string=f"tags.`{STUDY_TAG}` = '{tag}'"
        )
    ]


def _registered_models(client: mlflow.MlflowClient, study_id: str) -> list[RegisteredModel]:
    tag_filter = f"tags.`{STUDY_TAG}` = '{study_id}'"
    return list(client.search_registered_models(filter_string=tag_filter))


def _rename_registered_model(client: mlflow.MlflowClient, study_id: str, name: str) -> str | None:
    """Rename the registered model of a study and the tags of its versions.

    Returns:
        Its name; None if the study has no registered model.
    """
    models = _registered_models(client, study_id)
    if not models:
        return None
    names = (name, f"{name}-{study_id[:8]}")  # as in `registry`: the second if the first is taken
    current = models[0].name
    if current not in names:
        others = client.search_registered_models(filter_string=f"name = '{name}'")
        new = names[1 if others else 0]
        client.rename_registered_model(current, new)
        current = new
    for version in client.search_model_versions(f"name = '{current}'"):
        for key in (TRIAL_TAG, CONFIRMS_TAG):
            tag = version.tags.get(key, "")
            if tag and _renamed(tag, name) != tag:
                client.set_model_version_tag(current, version.version, key, _renamed(tag, name))
    return str(current)


def _renamed(tag: str, name: str) -> str:
    """`<study>/<number>` with another name of the study; `.confirm` stays."""
    study, _, number = tag.rpartition("/")
    return f"{name}{CONFIRM_SUFFIX if study.endswith(CONFIRM_SUFFIX) else ''}/{number}"


def _pages(search: Callable[[str | None], PagedList[Entry]]) -> Iterator[Entry]:
    """Entries of all pages of a search, read before the first one is changed."""
    entries: list[Entry] = []
    token = None
    while True:
        page = search(token)
        entries += page
        token = page.token
        if not token:
            return iter(entries)
