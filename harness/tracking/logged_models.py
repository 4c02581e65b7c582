"""LoggedModels of an experiment: one for each configuration that a confirmation has compared.

MLflow's Models page lists them with their metrics, by data set. As with runs, a call that times out
may still have created its model: each is looked up by tag first, and duplicates are removed.
"""

from collections.abc import Mapping

import mlflow
from mlflow.entities import (
    Dataset,
    DatasetInput,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Run,
)

from harness.tracking.fields import ConfirmedEntry, to_milliseconds
from harness.tracking.lookup import CONFIRMATION_TAG, PAGE_SIZE, TRIAL_TAG

VERDICT_TAG, CHOICE_TAG, RUNS_TAG = "harness.verdict", "harness.choice", "harness.runs"
MODEL_TYPE = "segmentation"
MODEL_VERSIONS_TAG = "mlflow.modelVersions"  # set by MLflow: registered versions of the model
_SEED_PARAM = "train.seed"  # differs between the trials of one configuration


class ConfiguredModels:
    """LoggedModels of one confirmation.

    Args:
        client: MLflow client of the store.
        experiment: id of the study's experiment.
        study: name of the confirmed study.
        confirmation: id of the confirming study.
    """

    def __init__(
        self, client: mlflow.MlflowClient, experiment: str, study: str, confirmation: str
    ) -> None:
        self._client, self._experiment = client, experiment
        self._study, self._confirmation = study, confirmation

    def find(self, search_number: int) -> LoggedModel | None:
        """The model of a configuration; duplicates from calls that timed out are deleted."""
        matches = self._client.search_logged_models(
            [self._experiment],
            f"tags.`{TRIAL_TAG}` = '{self._study}/{search_number}'"
            f" AND tags.`{CONFIRMATION_TAG}` = '{self._confirmation}'",
            max_results=PAGE_SIZE,
        )
        # A registered version refers to its model by id, so that model stays; otherwise the oldest.
        models = sorted(
            matches,
            key=lambda model: (
                MODEL_VERSIONS_TAG not in model.tags,
                model.creation_timestamp,
                model.model_id,
            ),
        )
        for duplicate in models[1:]:
            self._client.delete_logged_model(duplicate.model_id)
        return models[0] if models else None

    def copy(self, entry: ConfirmedEntry, run: Run, validation: DatasetInput) -> LoggedModel:
        """Create the model of a configuration, or bring it up to date.

        Args:
            entry: the configuration.
            run: run of its recommended confirming trial.
            validation: data set that its metrics are linked to.

        Returns:
            The model, as it was before its metrics were added.
        """
        tags = {
            TRIAL_TAG: f"{self._study}/{entry.search_number}",
            CONFIRMATION_TAG: self._confirmation,
        }
        params = {key: text for key, text in run.data.params.items() if key != _SEED_PARAM}
        model = self.find(entry.search_number) or self._create(entry, run, tags, params)
        # A killed process or a lost answer may have left any part of the work undone.
        missing = {key: text for key, text in params.items() if key not in model.params}
        if missing:
            self._client.log_model_params(model.model_id, missing)
        self._link(model, run, validation)
        new_metrics = _new_metrics(model, entry, validation.dataset)
        if new_metrics:
            self._client.log_batch(run.info.run_id, metrics=new_metrics)
        result = {
            VERDICT_TAG: entry.verdict,
            CHOICE_TAG: "yes" if entry.is_choice else "no",
            RUNS_TAG: str(entry.n_runs),
        }
        if not result.items() <= model.tags.items():
            self._client.set_logged_model_tags(model.model_id, result)
        if model.status != LoggedModelStatus.READY:
            self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        return model

    def _create(
        self,
        entry: ConfirmedEntry,
        run: Run,
        tags: Mapping[str, str],
        params: Mapping[str, str],
    ) -> LoggedModel:
        created = self._client.create_logged_model(
            self._experiment,
            # MLflow allows no "." in this name, so it cannot contain the name of the study.
            name=f"trial {entry.search_number}",
            source_run_id=run.info.run_id,
            tags=dict(tags),
            params=dict(params),
            model_type=MODEL_TYPE,
        )
        return self.find(entry.search_number) or created

    def _link(self, model: LoggedModel, run: Run, validation: DatasetInput) -> None:
        """Link run, model and data set; MLflow would add a second link for each repeated call."""
        outputs = run.outputs.model_outputs if run.outputs is not None else []
        if all(output.model_id != model.model_id for output in outputs):
            output = LoggedModelOutput(model.model_id, step=0)
            self._client.log_outputs(run.info.run_id, models=[output])
        inputs = run.inputs.dataset_inputs if run.inputs is not None else []
        if all(entry.dataset.digest != validation.dataset.digest for entry in inputs):
            self._client.log_inputs(run.info.run_id, datasets=[validation])


def _new_metrics(model: LoggedModel, entry: ConfirmedEntry, dataset: Dataset) -> list[Metric]:
    """Metrics whose latest value differs from the entry's.

    MLflow refuses a second value of one time, and its pages show the latest. So a value that was
    corrected without a new trial gets the next millisecond.
    """
    latest: dict[str, Metric] = {}
    for metric in sorted(model.metrics or [], key=lambda metric: metric.timestamp):
        latest[metric.key] = metric
    moment = to_milliseconds(entry.ended_at) or 0
    return [
        Metric(
            key,
            value,
            max(moment, latest[key].timestamp + 1) if key in latest else moment,
            0,
            model_id=model.model_id,
            dataset_name=dataset.name,
            dataset_digest=dataset.digest,
        )
        for key, value in entry.metrics.items()
        if key not in latest or latest[key].value != value
    ]
