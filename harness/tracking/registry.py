"""Registered model of a study: its versions, and the alias `champion`."""

from collections.abc import Mapping

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from harness.core import files
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.records import read_record
from harness.tracking.fields import ConfirmedModel
from harness.tracking.lookup import MAX_TAG_LENGTH
from harness.tracking.tags import CONFIRMATION_TAG, CONFIRMS_TAG, STUDY_TAG, TRIAL_TAG

CHAMPION_ALIAS = "champion"
MODEL_FOLDER = "model"  # artifact folder of the run
WEIGHTS_TAG = "harness.weights"  # SHA-256 of the weights in the study's folder
BUNDLE_TAG = "harness.bundle"  # SHA-256 of the bundle that a version carries
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
        self._client, self._paths, self._study = client, paths, paths.study.name
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

    def has_bundle(self, run: Run, champion: ConfirmedModel, digest: str) -> bool:
        """True if a version carries the bundle: it is created after the upload was complete."""
        return bool(self._carriers(self._tags(run, champion) | {BUNDLE_TAG: digest}))

    def register_bundle(self, run: Run, champion: ConfirmedModel, folder: str, digest: str) -> str:
        """Register an artifact folder of a run as `models:/<study>@champion`.

        Args:
            run: run of the confirming trial, whose artifacts contain `folder`.
            champion: the winner.
            folder: artifact folder with the MLflow model.
            digest: SHA-256 that identifies the bundle; an existing version of it is reused.

        Returns:
            Number of the version.
        """
        tags = self._tags(run, champion) | {BUNDLE_TAG: digest}
        if not self._carriers(tags):
            self._client.create_model_version(
                self.name,
                f"{run.info.artifact_uri}/{folder}",
                run_id=run.info.run_id,
                tags=tags,
                description=champion.sentence[:MAX_TAG_LENGTH],
            )
        # A call that timed out and was repeated by MLflow's client has created two.
        version, *duplicates = self._carriers(tags)
        for duplicate in duplicates:
            self._client.delete_model_version(self.name, str(duplicate.version))
        self._set_champion(version)
        return str(version.version)

    def versions(self, run: Run, search_number: int) -> list[dict[str, str | int]]:
        """Versions of a configuration in this confirmation, in the form of MLflow's own tag."""
        confirmation = run.data.tags.get(CONFIRMATION_TAG, "")
        matches = self._client.search_model_versions(
            f"name = '{self.name}' AND tags.`{CONFIRMS_TAG}` = '{self._study}/{search_number}'"
        )
        numbers = [
            int(version.version)
            for version in matches
            if version.tags.get(CONFIRMATION_TAG) == confirmation
        ]
        return [{"name": self.name, "version": number} for number in sorted(numbers)]

    def _tags(self, run: Run, champion: ConfirmedModel) -> dict[str, str]:
        trial = self._paths.trial(champion.number)
        return {
            TRIAL_TAG: f"{self._paths.name}/{champion.number}",
            CONFIRMATION_TAG: run.data.tags.get(CONFIRMATION_TAG, ""),
            CONFIRMS_TAG: f"{self._study}/{champion.search_number}",
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
        """Versions of one bundle whose files are there, oldest first."""
        versions = [
            version
            for version in self._bundle_versions(tags[WEIGHTS_TAG])
            if version.tags[BUNDLE_TAG] == tags[BUNDLE_TAG] and self._has_files(version)
        ]
        return sorted(versions, key=lambda version: int(version.version))

    def _bundle_versions(self, weights: str) -> list[ModelVersion]:
        matches = self._client.search_model_versions(
            f"name = '{self.name}' AND tags.`{WEIGHTS_TAG}` = '{weights}'"
        )
        return [version for version in matches if BUNDLE_TAG in version.tags]

    def _has_files(self, version: ModelVersion) -> bool:
        """True if the artifacts of a version are still there."""
        folder = str(version.source).rpartition("/")[2]
        try:
            return bool(self._client.list_artifacts(str(version.run_id), folder))
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
