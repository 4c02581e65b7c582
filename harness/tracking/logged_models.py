"""LoggedModels of an experiment: one for each configuration that a confirmation has compared.

MLflow's Models page lists them with their metrics, by data set. As with runs, a call that times out
may still have created its model: each is looked up by tag first, and duplicates are removed.
"""

import json
from collections.abc import Mapping, Sequence

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
from harness.tracking.lookup import PAGE_SIZE
from harness.tracking.tags import CONFIRMATION_TAG, MODEL_VERSIONS_TAG, TRIAL_TAG

VERDICT_TAG, CHOICE_TAG, RUNS_TAG = "harness.verdict", "harness.choice", "harness.runs"
MODEL_TYPE = "segmentation"
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
        models = sorted(matches, key=lambda model: (model.creation_timestamp, model.model_id))
        for duplicate in models[1:]:
            self._client.delete_logged_model(duplicate.model_id)
        return models[0] if models else None

    def copy(
        self,
        entry: ConfirmedEntry,
        run: Run,
        validation: DatasetInput,
        versions: Sequence[Mapping[str, str | int]] = (),
    ) -> None:
        """Create the model of a configuration, or bring it up to date.

        A model whose metrics have changed is replaced: MLflow cannot remove a metric's value, and
        its pages show the first one.

        Args:
            entry: the configuration.
            run: run of its recommended confirming trial.
            validation: data set that its metrics are linked to.
            versions: name and version of its registered models, in MLflow's own form.
        """
        params = {key: text for key, text in run.data.params.items() if key != _SEED_PARAM}
        model = self.find(entry.search_number)
        if model is not None and not _agrees(model, entry):
            self._client.delete_logged_model(model.model_id)
            model = None
        model = model or self._create(entry, run, params)
        # A killed process or a lost answer may have left any part of the work undone.
        missing = {key: text for key, text in params.items() if key not in model.params}
        if missing:
            self._client.log_model_params(model.model_id, missing)
        self._link(model, run, validation)
        self._log_metrics(model, entry, run, validation.dataset)
        result = {
            VERDICT_TAG: entry.verdict,
            CHOICE_TAG: "yes" if entry.is_choice else "no",
            RUNS_TAG: str(entry.n_runs),
        }
        result |= {MODEL_VERSIONS_TAG: json.dumps(versions)} if versions else {}
        if not result.items() <= model.tags.items():
            self._client.set_logged_model_tags(model.model_id, result)
        if model.status != LoggedModelStatus.READY:
            self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)

    def _create(self, entry: ConfirmedEntry, run: Run, params: dict[str, str]) -> LoggedModel:
        created = self._client.create_logged_model(
            self._experiment,
            # MLflow allows no "." in this name, so it cannot contain the name of the study.
            name=f"trial {entry.search_number}",
            source_run_id=run.info.run_id,
            tags={
                TRIAL_TAG: f"{self._study}/{entry.search_number}",
                CONFIRMATION_TAG: self._confirmation,
            },
            params=params,
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

    def _log_metrics(
        self, model: LoggedModel, entry: ConfirmedEntry, run: Run, dataset: Dataset
    ) -> None:
        """Log the missing metrics to the model; MLflow enters them in the run as well."""
        existing = {metric.key for metric in model.metrics or []}
        moment = to_milliseconds(entry.ended_at) or 0
        for key, value in entry.metrics.items():
            # The run shows its latest value. One that was corrected without a new trial has the
            # time of the old one, so it gets the next millisecond.
            if run.data.metrics.get(key, value) != value:
                history = self._client.get_metric_history(run.info.run_id, key)
                moment = max(moment, *(metric.timestamp + 1 for metric in history))
        metrics = [
            Metric(key, value, moment, 0, model.model_id, dataset.name, dataset.digest)
            for key, value in entry.metrics.items()
            if key not in existing
        ]
        if metrics:
            self._client.log_batch(run.info.run_id, metrics=metrics)


def _agrees(model: LoggedModel, entry: ConfirmedEntry) -> bool:
    """True if no metric of the model differs from the entry's; some may be missing."""
    return all(entry.metrics.get(metric.key) == metric.value for metric in model.metrics or [])
