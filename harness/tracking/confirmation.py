"""Copy of a confirmation's result into MLflow: the champion, and a model for each configuration."""

from collections.abc import Sequence
from pathlib import Path

import mlflow
from mlflow.entities import Metric, RunTag

from harness.config.study import StudyConfig
from harness.config.study_files import read_study_config
from harness.core.errors import TrackingError
from harness.core.paths import StudyPaths
from harness.tracking.bundle_model import bundle_sha256, write_bundle_model
from harness.tracking.entities import split_input
from harness.tracking.fields import ConfirmedEntry, ConfirmedModel, to_milliseconds
from harness.tracking.logged_models import ConfiguredModels
from harness.tracking.lookup import MAX_TAG_LENGTH
from harness.tracking.registry import StudyRegistry
from harness.tracking.runs import StudyWriter
from harness.tracking.uri import TrackingStore


class ConfirmationWriter:
    """Copies one confirmation; writing twice adds nothing.

    Args:
        client: MLflow client of the store.
        store: the store.
        paths: folder of the confirmation.
        config: definition of the confirmation.
    """

    def __init__(
        self,
        client: mlflow.MlflowClient,
        store: TrackingStore,
        paths: StudyPaths,
        config: StudyConfig,
    ) -> None:
        self._client, self._paths = client, paths
        self._writer = StudyWriter(client, store, paths, config)
        self._study_config = read_study_config(paths.study)
        self._models = ConfiguredModels(
            client, self._writer.experiment, paths.study.name, str(config.id)
        )

    def log_champion(self, champion: ConfirmedModel) -> None:
        """Register the winner's weights, and log its metrics and result to the study's run."""
        run = self._writer.trial_run(champion.number)
        if run is not None and self._paths.trial(champion.number).model.is_dir():
            self._registry().register_weights(run, champion)
        moment = to_milliseconds(champion.ended_at) or 0
        metrics = [Metric(key, value, moment, 0) for key, value in champion.metrics.items()]
        tags = [RunTag("harness.confirmed", champion.sentence[:MAX_TAG_LENGTH])]
        self._client.log_batch(self._writer.parent, metrics=metrics, tags=tags)

    def log_entries(self, entries: Sequence[ConfirmedEntry]) -> None:
        """Bring the LoggedModel of each configuration up to date."""
        # With folds, every image of train and val validates once: the study's split names them.
        validation = split_input(self._paths.split_csv, self._study_config)
        registry = self._registry()
        for entry in entries:
            run = self._writer.trial_run(entry.number)
            if run is not None:
                versions = registry.versions(run, entry.search_number)
                self._models.copy(entry, run, validation, versions)

    def copy_study(self) -> None:
        """Log the tables of the confirmation as artifacts of the study's own run."""
        self._writer.copy_study()

    def attach_bundle(self, champion: ConfirmedModel, bundle: Path) -> str:
        """Register a bundle of the champion's weights as its newest model version.

        Args:
            champion: the winner.
            bundle: folder that `harness export` has written.

        Returns:
            `models:/<name>/<version>`.

        Raises:
            TrackingError: the bundle is damaged, or the champion's weights are gone.
        """
        digest = bundle_sha256(bundle)
        run = self._writer.trial_run(champion.number)
        if run is None or not self._paths.trial(champion.number).model.is_dir():
            raise TrackingError(
                f"trial {champion.number} of {self._paths.name} has no run or no weights left; "
                f"run harness sync --study {self._paths.study.name}"
            )
        registry = self._registry()
        # One folder for each bundle: the versions of earlier bundles keep their files.
        folder = f"bundle-{digest[:12]}"
        if not registry.has_bundle(run, champion, digest):
            with write_bundle_model(bundle, self._paths.outbox) as model_folder:
                self._client.log_artifacts(run.info.run_id, str(model_folder), folder)
        version = registry.register_bundle(run, champion, folder, digest)
        return f"models:/{registry.name}/{version}"

    def _registry(self) -> StudyRegistry:
        return StudyRegistry(self._client, self._paths, str(self._study_config.id))
