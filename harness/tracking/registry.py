"""Registered model of a study: its versions, and the alias `champion`."""

import json
from collections.abc import Mapping

import mlflow
from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from harness.core import files
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.records import read_record
from harness.tracking.fields import ConfirmedModel
from harness.tracking.logged_models import MODEL_VERSIONS_TAG
from harness.tracking.lookup import CONFIRMATION_TAG, MAX_TAG_LENGTH, TRIAL_TAG
from harness.tracking.relocation import STUDY_TAG

CHAMPION_ALIAS = "champion"
MODEL_FOLDER = "model"  # artifact folder of the run
WEIGHTS_TAG = "harness.weights"  # SHA-256 of the weights in the study's folder
BUNDLE_TAG = "harness.bundle"  # SHA-256 of the bundle that a version carries
MODEL_TAG = (
    "harness.model"  # its LoggedModel: MLflow's own databases do not store that of a version
)
_ENDED_TAG = "harness.ended"
_ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
_NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # by kind of store


class StudyRegistry:
    """The registered model `<study>` of a study.

    If that name belongs to another study, it is `<study>-<first 8 characters of the study id>`.

    Args:
        client: MLflow client of the store.
        paths: folder of the confirmation.
        study_id: id of the confirmed study.
    """

    def __init__(self, client: mlflow.MlflowClient, paths: StudyPaths, study_id: str) -> None:
        self._client, self._paths = client, paths
        self.name = _ensure_registered_model(client, paths.study.name, study_id)

    def register_weights(self, run: Run, champion: ConfirmedModel) -> None:
        """Register the weights of a confirming trial as `models:/<study>@champion`.

        The model is safetensors and JSON: every pickle-based flavour of MLflow can run code when
        it is loaded. An existing version of the same trial is reused. The alias stays on a version
        that carries a bundle of the same weights.

        Args:
            run: run of the confirming trial.
            champion: the winner.
        """
        trial = self._paths.trial(champion.number)
        tags = self._tags(run, champion)
        matches = self._client.search_model_versions(
            f"name = '{self.name}' AND run_id = '{run.info.run_id}'"
        )
        existing = [
            version
            for version in matches
            if version.tags.get(_ENDED_TAG) == tags[_ENDED_TAG] and BUNDLE_TAG not in version.tags
        ]
        if not existing or not self._client.list_artifacts(run.info.run_id, MODEL_FOLDER):
            self._client.log_artifacts(run.info.run_id, str(trial.model), MODEL_FOLDER)
        if existing:
            version = existing[0]
        else:
            version = self._client.create_model_version(
                self.name,
                f"{run.info.artifact_uri}/{MODEL_FOLDER}",
                run_id=run.info.run_id,
                tags=tags,
                description=champion.sentence[:MAX_TAG_LENGTH],
            )
        self._set_champion(self._bundle_version(tags[WEIGHTS_TAG]) or version)

    def has_bundle(self, champion: ConfirmedModel, digest: str) -> bool:
        """True if a version carries the bundle: it is created after the upload was complete."""
        weights = weights_sha256(self._paths.trial(champion.number))
        return any(
            version.tags[BUNDLE_TAG] == digest and self._has_files(version)
            for version in self._bundle_versions(weights)
        )

    def register_bundle(
        self, model: LoggedModel, run: Run, champion: ConfirmedModel, folder: str, digest: str
    ) -> str:
        """Register an artifact folder of a LoggedModel as `models:/<study>@champion`.

        Args:
            model: LoggedModel of the confirmed choice, whose artifacts contain `folder`.
            run: run of the confirming trial.
            champion: the winner.
            folder: artifact folder with the MLflow model.
            digest: SHA-256 that identifies the bundle; an existing version of it is reused.

        Returns:
            Number of the version.
        """
        tags = self._tags(run, champion) | {BUNDLE_TAG: digest, MODEL_TAG: model.model_id}
        if not self._carriers(tags):
            self._client.create_model_version(
                self.name,
                f"{model.artifact_location}/{folder}",
                run_id=run.info.run_id,
                tags=tags,
                description=champion.sentence[:MAX_TAG_LENGTH],
                model_id=model.model_id,
            )
        # A call that timed out and was repeated by MLflow's client has created two.
        version, *duplicates = self._carriers(tags)
        for duplicate in duplicates:
            self._client.delete_model_version(self.name, str(duplicate.version))
        self._link_model(model.model_id, int(version.version))
        self._set_champion(version)
        return str(version.version)

    def _link_model(self, model_id: str, version: int) -> None:
        """Show the version on its LoggedModel's page; a server does it, a database does not."""
        text = self._client.get_logged_model(model_id).tags.get(MODEL_VERSIONS_TAG, "[]")
        entry = {"name": self.name, "version": version}
        links = json.loads(text)
        if entry not in links:
            tag = {MODEL_VERSIONS_TAG: json.dumps([*links, entry])}
            self._client.set_logged_model_tags(model_id, tag)

    def _tags(self, run: Run, champion: ConfirmedModel) -> dict[str, str]:
        trial = self._paths.trial(champion.number)
        return {
            TRIAL_TAG: f"{self._paths.name}/{champion.number}",
            CONFIRMATION_TAG: run.data.tags.get(CONFIRMATION_TAG, ""),
            "harness.confirms": f"{self._paths.study.name}/{champion.search_number}",
            _ENDED_TAG: read_record(trial.trial_json).ended or "",
            WEIGHTS_TAG: weights_sha256(trial),
        }

    def _bundle_version(self, weights: str) -> ModelVersion | None:
        """Version with a bundle of these weights: the present champion, else the newest one."""
        versions = [
            version for version in self._bundle_versions(weights) if self._has_files(version)
        ]
        champion = self._champion_version()
        return next(
            (version for version in versions if str(version.version) == champion),
            max(versions, key=lambda version: int(version.version), default=None),
        )

    def _carriers(self, tags: Mapping[str, str]) -> list[ModelVersion]:
        """Versions of one bundle in one LoggedModel, oldest first."""
        versions = [
            version
            for version in self._bundle_versions(tags[WEIGHTS_TAG])
            if all(version.tags.get(key) == tags[key] for key in (BUNDLE_TAG, MODEL_TAG))
        ]
        return sorted(versions, key=lambda version: int(version.version))

    def _bundle_versions(self, weights: str) -> list[ModelVersion]:
        matches = self._client.search_model_versions(
            f"name = '{self.name}' AND tags.`{WEIGHTS_TAG}` = '{weights}'"
        )
        return [version for version in matches if {BUNDLE_TAG, MODEL_TAG} <= version.tags.keys()]

    def _has_files(self, version: ModelVersion) -> bool:
        """True if the files of a bundle are still there; its LoggedModel may have been deleted."""
        folder = str(version.source).rpartition("/")[2]
        try:
            return bool(self._client.list_logged_model_artifacts(version.tags[MODEL_TAG], folder))
        except MlflowException as error:
            if error.error_code not in _NOT_FOUND:
                raise
            return False

    def _champion_version(self) -> str | None:
        try:
            version = self._client.get_model_version_by_alias(self.name, CHAMPION_ALIAS)
        except MlflowException as error:
            if error.error_code not in _NOT_FOUND:
                raise
            return None
        return str(version.version)

    def _set_champion(self, version: ModelVersion) -> None:
        self._client.set_registered_model_alias(self.name, CHAMPION_ALIAS, str(version.version))


def weights_sha256(trial: TrialPaths) -> str:
    """SHA-256 over names and contents of a trial's saved model, in the order of names."""
    model_files = sorted(path for path in trial.model.iterdir() if path.is_file())
    return files.combine_sha256([f"{files.file_sha256(path)} {path.name}" for path in model_files])


def _ensure_registered_model(client: mlflow.MlflowClient, study: str, study_id: str) -> str:
    """Name of the study's registered model, which is created if it is absent."""
    for name in (study, f"{study}-{study_id[:8]}"):
        try:
            client.create_registered_model(name, tags={STUDY_TAG: study_id})
        except MlflowException as error:
            if error.error_code != _ALREADY_EXISTS:
                raise
            if client.get_registered_model(name).tags.get(STUDY_TAG) != study_id:
                continue
        return name
    raise MlflowException(f"registered models {study} and {name} both belong to other studies")
