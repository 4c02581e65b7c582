"""Writer of a study's MLflow runs: parameters, epochs, images, results.

Writing twice adds nothing: MLflow identifies a metric by time, step and value, artifacts have
stable names, and runs are looked up by tag before and after they are created.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mlflow
from mlflow.entities import Metric, Run, RunTag

from harness.config.study import StudyConfig
from harness.config.study_files import read_study_config
from harness.core import strict_yaml
from harness.core.checkpoint_header import checkpoint_epoch
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.records import TrialRecord, read_epochs, read_record, read_records
from harness.core.settings import flatten
from harness.tracking import entities
from harness.tracking.best_curve import BestCurve, log_in_batches
from harness.tracking.client import ensure_experiment
from harness.tracking.entities import (
    flat_definition,
    metric_batches,
    split_input,
    to_params,
)
from harness.tracking.fields import (
    StudyMetric,
    epoch_and_row,
    final_metrics,
    final_tags,
    label_tags,
    to_milliseconds,
)
from harness.tracking.lookup import ExperimentRuns
from harness.tracking.study_entries import rename_entries
from harness.tracking.study_note import NOTE_TAG, is_own_note, study_note, trial_note
from harness.tracking.tags import CONFIRMATION_TAG, COPIED_TAG, NAME_TAG, ROLE_TAG, TRIAL_TAG
from harness.tracking.uri import TrackingStore

STUDY_RUN_FILTER = f"tags.`{ROLE_TAG}` = 'study'"
RUN_STATUS = {"running": "RUNNING", "complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


@dataclass
class OpenRun:
    """State of a run whose trial is not completely copied."""

    run_id: str
    sent_before: dict[int, int]  # time by epoch, of epochs that the run had when it was opened
    last_sent_epoch: int = 0
    last_image_epoch: int = 0  # last epoch whose overlays were sent


class StudyWriter:
    """Copies the folder of one study, or of its confirmation, into MLflow.

    Confirming trials are in the same experiment as the search, below the same parent run.

    Args:
        client: MLflow client of the store.
        store: the store.
        paths: folder of the study or the confirmation.
        config: its definition.

    Attributes:
        run_ids: ids of the known runs by trial number.
        experiment: id of the study's experiment.
        parent: id of the study's own run.
    """

    def __init__(
        self,
        client: mlflow.MlflowClient,
        store: TrackingStore,
        paths: StudyPaths,
        config: StudyConfig,
    ) -> None:
        self._client, self._paths, self._config = client, paths, config
        self._study_config = read_study_config(paths.study) if paths.is_confirmation else config
        self.experiment = ensure_experiment(client, store, str(self._study_config.id))
        self._runs = ExperimentRuns(client, self.experiment, local=store.artifacts is not None)
        self.parent = self._ensure_study_run()
        condition = f" AND tags.`{CONFIRMATION_TAG}` = '{config.id}'"
        self._condition = condition if paths.is_confirmation else ""
        complete = self._runs.complete_runs(paths.name, self._condition)
        self._copied = {number: ended for number, (_, ended) in complete.items()}
        self.run_ids = {number: run_id for number, (run_id, _) in complete.items()}
        self._open: dict[int, OpenRun] = {}
        self._best_curve = BestCurve(client, self._runs, self.parent, paths, config.objective)

    def copy_trial(self, number: int) -> None:
        """Bring the run of a trial up to date with its folder."""
        trial = self._paths.trial(number)
        if not trial.trial_json.exists():
            return
        record = read_record(trial.trial_json)
        if record.imported is not None:
            return  # its run is in the experiment of the study that trained it
        if record.ended is not None and self._copied.get(number) == record.ended:
            return
        try:
            self._copy_record(record, trial)
        except Exception:
            # The call may have succeeded in spite of the error: read the run again next time.
            self._open.pop(number, None)
            raise
        if record.state != "running":
            del self._open[number]
            self._copied[number] = record.ended or ""

    def log_trial_metrics(self, metrics_by_trial: Mapping[int, Mapping[str, float]]) -> None:
        """Log metrics that were computed after the trials ended; equal ones are skipped."""
        for number, metrics in metrics_by_trial.items():
            run = self._runs.find(self._trial_filter(number)) if metrics else None
            if run is None:
                continue
            now = to_milliseconds(read_record(self._paths.trial(number).trial_json).ended) or 0
            new = [
                Metric(key, value, now, 0)
                for key, value in metrics.items()
                if run.data.metrics.get(key) != value
            ]
            if new:
                self._client.log_batch(run.info.run_id, metrics=new)

    def copy_study(self) -> None:
        """Log definition, split, tables and report as artifacts of the study's own run."""
        self._runs.remove_duplicates(STUDY_RUN_FILTER, self.parent)
        paths = self._paths
        files = [paths.study_yaml, paths.space_yaml, paths.trials_csv]
        if paths.is_confirmation:
            files += [paths.confirm_yaml, paths.ranking_csv, *paths.root.glob("split-*.csv")]
        else:
            self._best_curve.complete()
            self._copy_note()
            files += [paths.split_csv, paths.report_html, paths.test_ledger]
        for path in files:
            if path.exists():
                folder = paths.root.name if paths.is_confirmation else None
                self._client.log_artifact(self.parent, str(path), folder)
        self._client.set_terminated(self.parent, "FINISHED")

    def _copy_note(self) -> None:
        """Describe the study at the top of its run and of its experiment."""
        try:
            note = study_note(self._paths, self._config, read_records(self._paths))
        except ConfigError:  # a damaged record, reported elsewhere
            return
        self._client.set_tag(self.parent, NOTE_TAG, note)
        if is_own_note(self._client.get_experiment(self.experiment).tags.get(NOTE_TAG, "")):
            self._client.set_experiment_tag(self.experiment, NOTE_TAG, note)

    def log_study_metrics(self, study_metrics: Sequence[StudyMetric]) -> None:
        """Log metrics of the whole study to its own run; a repeated call adds nothing."""
        metrics = [Metric(n.key, n.value, n.time_ms, n.step) for n in study_metrics]
        log_in_batches(self._client, self.parent, metrics)

    def trial_run(self, number: int) -> Run | None:
        """Run of a trial, which is brought up to date first; None if the trial has no run."""
        self.copy_trial(number)
        return self._runs.find(self._trial_filter(number))

    def _ensure_study_run(self) -> str:
        config, name = self._study_config, self._paths.study.name
        tags = {ROLE_TAG: "study", NAME_TAG: name, NOTE_TAG: config.question or ""}
        run = self._runs.find(STUDY_RUN_FILTER) or self._runs.create(STUDY_RUN_FILTER, tags, name)
        rename_entries(self._client, run, str(config.id), name)  # before they are looked up
        if not run.data.params:
            self._client.log_batch(run.info.run_id, params=to_params(flat_definition(config)))
        return str(run.info.run_id)

    def _copy_record(self, record: TrialRecord, trial: TrialPaths) -> None:
        run = self._open.get(record.number)
        if run is None:
            run = self._open[record.number] = self._open_run(record, trial)
        epochs = self._copy_metrics(run, record, trial)
        # COPIED_TAG comes last: a copy that is interrupted before it is repeated.
        if record.state != "running":
            self._close_run(run.run_id, record)
        self._copy_images(run, record, trial, epochs)
        if record.state != "running":
            for path in (trial.config_yaml, trial.scores_csv):
                if path.exists():
                    self._client.log_artifact(run.run_id, str(path))
            self._runs.remove_duplicates(self._trial_filter(record.number), run.run_id)
            self._client.set_tag(run.run_id, COPIED_TAG, record.ended or "")

    def _trial_filter(self, number: int) -> str:
        return f"tags.`{TRIAL_TAG}` = '{self._paths.name}/{number}'{self._condition}"

    def _open_run(self, record: TrialRecord, trial: TrialPaths) -> OpenRun:
        run_filter = self._trial_filter(record.number)
        run = self._runs.find(run_filter)
        sent_before = {}
        if run is not None:
            sent_before = self._runs.steps(run.info.run_id, self._config.objective.metric)
        else:
            role = "confirm" if self._paths.is_confirmation else "trial"
            tags = {TRIAL_TAG: f"{self._paths.name}/{record.number}", ROLE_TAG: role}
            tags |= {"mlflow.parentRunId": self.parent} | label_tags(record.labels)
            tags |= {CONFIRMATION_TAG: str(self._config.id)} if self._paths.is_confirmation else {}
            name = f"{role} {record.number:04d}"
            run = self._runs.create(run_filter, tags, name, to_milliseconds(record.started))
        run_id = self.run_ids[record.number] = str(run.info.run_id)
        # MLflow's parameters are write-once: logging a changed value raises (mlflow#7046).
        if not run.data.params:
            text = trial.config_yaml.read_text(encoding="utf-8")
            config = strict_yaml.load_yaml(text, source=str(trial.config_yaml)).value
            self._client.log_batch(run_id, params=to_params(flatten(config)))
        if run.inputs is None or not run.inputs.dataset_inputs:
            split = split_input(self._paths.split_for(record.labels), self._config)
            self._client.log_inputs(run_id, datasets=[split])
        return OpenRun(run_id, sent_before)

    def _copy_metrics(
        self, run: OpenRun, record: TrialRecord, trial: TrialPaths
    ) -> list[dict[str, float]]:
        """Log the epochs that a checkpoint covers; all epochs once the trial has ended.

        Later epochs may be repeated with other values if the trial is resumed. If a checkpoint was
        damaged and an epoch repeated nevertheless, its first values stay in MLflow.

        Returns:
            All epochs that MLflow now contains.
        """
        safe = checkpoint_epoch(trial) if record.state == "running" else record.epochs
        epochs = [e for e in read_epochs(trial) if e["epoch"] <= safe]
        new = [e for e in epochs if e["epoch"] > run.last_sent_epoch]
        new = [e for e in new if run.sent_before.get(int(e["epoch"])) in (None, e["time_ms"])]
        for metrics in metric_batches(new):
            self._client.log_batch(run.run_id, metrics=metrics)
        run.last_sent_epoch = int(epochs[-1]["epoch"]) if epochs else run.last_sent_epoch
        return epochs

    def _copy_images(
        self,
        run: OpenRun,
        record: TrialRecord,
        trial: TrialPaths,
        epochs: list[dict[str, float]],
    ) -> None:
        times = {int(e["epoch"]): int(e["time_ms"]) for e in epochs}
        seed = f"{self._config.id}/{record.number}"
        for path in sorted(trial.overlays.glob("*-*.png"), key=epoch_and_row):
            epoch, row = epoch_and_row(path)
            if epoch <= run.last_image_epoch or epoch not in times:
                continue
            with entities.logged_image_files(
                path, self._paths.outbox, seed, epoch, row, times[epoch]
            ) as sendable:
                for file in sendable:
                    self._client.log_artifact(run.run_id, str(file), entities.IMAGE_FOLDER)
                if sendable:
                    self._client.set_tag(run.run_id, entities.LOGGED_IMAGES_TAG, "True")
        run.last_image_epoch = max(times, default=0)

    def _close_run(self, run_id: str, record: TrialRecord) -> None:
        ended = to_milliseconds(record.ended) or 0
        step = record.best_epoch or 0
        final = final_metrics(record, self._config.objective)
        metrics = [Metric(key, value, ended, step) for key, value in final.items()]
        tags = [RunTag(key, text) for key, text in final_tags(record).items() if text]
        if is_own_note(self._client.get_run(run_id).data.tags.get(NOTE_TAG, "")):
            tags.append(RunTag(NOTE_TAG, trial_note(record)))
        self._client.log_batch(run_id, metrics=metrics, tags=tags)
        self._client.set_terminated(run_id, RUN_STATUS[record.state], end_time=ended or None)
        if record.state == "complete" and not self._paths.is_confirmation:
            self._best_curve.add(record)
