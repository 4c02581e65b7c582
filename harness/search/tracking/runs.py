"""What is written into the runs of a study: parameters, epochs, pictures, results.

Nothing is doubled by writing it twice: a metric is one with the same time, step and value, files
have names that do not change, and runs are looked up by tag before and after they are made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mlflow
from mlflow.entities import Metric, RunTag

from harness import strict_yaml
from harness.config import StudyConfig
from harness.errors import ConfigError
from harness.paths import StudyPaths, TrialPaths
from harness.records import TrialRecord, read_epochs, read_record, read_records
from harness.search.earlier import read_config
from harness.search.mirrored import (
    Best,
    Champion,
    Number,
    best_so_far,
    closing_numbers,
    closing_tags,
    epoch_and_row,
    label_tags,
    milliseconds,
)
from harness.search.tracker import Tracker
from harness.search.tracking import pictures
from harness.search.tracking.champion import LONGEST_TAG, register
from harness.search.tracking.lookup import (
    CONFIRMATION_TAG,
    COPIED_TAG,
    ROLE_TAG,
    TRIAL_TAG,
    Runs,
)
from harness.search.tracking.store import find_experiment, make_experiment
from harness.search.tracking.values import BATCH, batches, flat_definition, params, split_input
from harness.settings import flatten
from harness.training.checkpoint import checkpoint_epoch

STUDY_RUN = f"tags.`{ROLE_TAG}` = 'study'"
STATUS = {"running": "RUNNING", "complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


@dataclass
class OpenRun:
    """What is known of the run of a trial that is not copied to its end."""

    run_id: str
    known: dict[int, int]  # epochs that were there when it was found, with their time
    sent: int = 0  # the last epoch sent, or found to be there
    pictured: int = 0  # the last epoch whose pictures were sent


class StudyWriter:
    """MLflow's client, and the little of the study that is known to be there already.

    Args:
        client: of the store.
        tracker: the store.
        paths: the study's folder.
        config: its definition.

    Attributes:
        run_ids: of the runs that are there, by number of their trials.

    The runs of a confirmation lie beside those of the study, below the same run.
    """

    def __init__(
        self, client: mlflow.MlflowClient, tracker: Tracker, paths: StudyPaths, config: StudyConfig
    ) -> None:
        self._client, self._paths, self._config = client, paths, config
        self._of_study = read_config(paths.study) if paths.confirms else config
        study_id = str(self._of_study.id)
        found = find_experiment(client, tracker, study_id)
        self._runs = Runs(
            client,
            make_experiment(client, tracker, study_id)
            if found is None
            else str(found.experiment_id),
            local=tracker.artifacts is not None,
        )
        self._parent = self._study_run()
        mark = f" AND tags.`{CONFIRMATION_TAG}` = '{config.id}'"
        self._beside = mark if paths.confirms else ""
        whole = self._runs.copied(paths.name, self._beside)
        self._copied = {number: ended for number, (_, ended) in whole.items()}
        self.run_ids = {number: run_id for number, (run_id, _) in whole.items()}
        self._open: dict[int, OpenRun] = {}
        self._best: Best | None = None

    def copy_trial(self, number: int) -> None:
        """Bring the run of a trial up to its folder."""
        trial = self._paths.trial(number)
        if not trial.trial_json.exists():
            return
        record = read_record(trial.trial_json)
        if record.imported is not None:
            return  # it has its run already, in the study that trained it
        if record.ended is not None and self._copied.get(number) == record.ended:
            return
        try:
            self._copy(record, trial)
        except Exception:
            self._open.pop(number, None)  # what arrived is not known: look it up again
            raise
        if record.state != "running":
            del self._open[number]
            self._copied[number] = record.ended or ""

    def log_numbers(self, numbers: Mapping[int, Mapping[str, float]]) -> None:
        """Metrics of trials that were worked out later; those that are there already stay."""
        for number, metrics in numbers.items():
            run = self._runs.find(self._label(number)) if metrics else None
            if run is None:
                continue
            now = milliseconds(read_record(self._paths.trial(number).trial_json).ended) or 0
            new = [
                Metric(key, value, now, 0)
                for key, value in metrics.items()
                if run.data.metrics.get(key) != value
            ]
            if new:
                self._client.log_batch(run.info.run_id, metrics=new)

    def copy_study(self) -> None:
        """Definition, split, tables and report, as artifacts of the study's own run."""
        self._runs.remove_others(STUDY_RUN, self._parent)
        paths = self._paths
        named = [paths.study_yaml, paths.space_yaml, paths.trials_csv]
        if paths.confirms:
            named += [paths.confirm_yaml, paths.ranking_csv, *paths.root.glob("split-*.csv")]
        else:
            self._send_best()
            named += [paths.split_csv, paths.report_html, paths.test_looks]
        for path in named:
            if path.exists():
                folder = paths.root.name if paths.confirms else None
                self._client.log_artifact(self._parent, str(path), folder)
        self._client.set_terminated(self._parent, "FINISHED")

    def copy_numbers(self, numbers: Sequence[Number]) -> None:
        """Numbers of the study as a whole, on its own run; sent again, nothing is added."""
        metrics = [Metric(n.key, n.value, n.time_ms, n.step) for n in numbers]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(self._parent, metrics=metrics[start : start + BATCH])

    def log_champion(self, champion: Champion) -> None:
        """Register the weights of a confirming trial, and note the numbers on the study's run."""
        self.copy_trial(champion.number)
        run = self._runs.find(self._label(champion.number))
        if run is not None:
            register(self._client, run, self._paths, str(self._of_study.id), champion)
        moment = milliseconds(champion.moment) or 0
        metrics = [Metric(key, value, moment, 0) for key, value in champion.numbers.items()]
        tags = [RunTag("harness.confirmed", champion.sentence[:LONGEST_TAG])]
        self._client.log_batch(self._parent, metrics=metrics, tags=tags)

    def _study_run(self) -> str:
        config, name = self._of_study, self._paths.study.name
        tags = {ROLE_TAG: "study", "mlflow.note.content": config.question or ""}
        run = self._runs.find(STUDY_RUN) or self._runs.make(STUDY_RUN, tags, name)
        if not run.data.params:
            self._client.log_batch(run.info.run_id, params=params(flat_definition(config)))
        return str(run.info.run_id)

    def _copy(self, record: TrialRecord, trial: TrialPaths) -> None:
        run = self._open.get(record.number)
        if run is None:
            run = self._open[record.number] = self._open_run(record, trial)
        epochs = self._copy_metrics(run, record, trial)
        if record.state != "running":
            self._close_run(run.run_id, record)
        self._copy_pictures(run, record, trial, epochs)
        if record.state != "running":
            for path in (trial.config_yaml, trial.scores_csv):
                if path.exists():
                    self._client.log_artifact(run.run_id, str(path))
            self._runs.remove_others(self._label(record.number), run.run_id)
            self._client.set_tag(run.run_id, COPIED_TAG, record.ended or "")

    def _label(self, number: int) -> str:
        return f"tags.`{TRIAL_TAG}` = '{self._paths.name}/{number}'{self._beside}"

    def _open_run(self, record: TrialRecord, trial: TrialPaths) -> OpenRun:
        wanted = self._label(record.number)
        run = self._runs.find(wanted)
        known = {}
        if run is not None:
            known = self._runs.steps(run.info.run_id, self._config.objective.metric)
        else:
            role = "confirm" if self._paths.confirms else "trial"
            tags = {TRIAL_TAG: f"{self._paths.name}/{record.number}", ROLE_TAG: role}
            tags |= {"mlflow.parentRunId": self._parent} | label_tags(record.labels)
            tags |= {CONFIRMATION_TAG: str(self._config.id)} if self._paths.confirms else {}
            name = f"{role} {record.number:04d}"
            run = self._runs.make(wanted, tags, name, milliseconds(record.started))
        run_id = self.run_ids[record.number] = str(run.info.run_id)
        if not run.data.params:
            text = trial.config_yaml.read_text(encoding="utf-8")
            config = strict_yaml.load(text, place=str(trial.config_yaml)).value
            self._client.log_batch(run_id, params=params(flatten(config)))
        if run.inputs is None or not run.inputs.dataset_inputs:
            split = split_input(self._paths.split_of(record.labels), self._config)
            self._client.log_inputs(run_id, datasets=[split])
        return OpenRun(run_id, known)

    def _copy_metrics(
        self, run: OpenRun, record: TrialRecord, trial: TrialPaths
    ) -> list[dict[str, float]]:
        """Send epochs that a checkpoint holds; all of them once the trial has ended.

        An epoch that was repeated after its checkpoint was damaged stays as it was sent first.

        Returns:
            All epochs that are in MLflow now.
        """
        safe = checkpoint_epoch(trial) if record.state == "running" else record.epochs
        epochs = [e for e in read_epochs(trial) if e["epoch"] <= safe]
        new = [e for e in epochs if e["epoch"] > run.sent]
        new = [e for e in new if run.known.get(int(e["epoch"])) in (None, e["time_ms"])]
        for metrics in batches(new):
            self._client.log_batch(run.run_id, metrics=metrics)
        if epochs:
            run.sent = int(epochs[-1]["epoch"])
        return epochs

    def _copy_pictures(
        self,
        run: OpenRun,
        record: TrialRecord,
        trial: TrialPaths,
        epochs: list[dict[str, float]],
    ) -> None:
        moments = {int(e["epoch"]): int(e["time_ms"]) for e in epochs}
        seed = f"{self._config.id}/{record.number}"
        for path in sorted(trial.overlays.glob("*-*.png"), key=epoch_and_row):
            epoch, row = epoch_and_row(path)
            if epoch <= run.pictured or epoch not in moments:
                continue
            with pictures.named(
                path, self._paths.outbox, seed, epoch, row, moments[epoch]
            ) as sendable:
                for file in sendable:
                    self._client.log_artifact(run.run_id, str(file), pictures.FOLDER)
                if sendable:
                    self._client.set_tag(run.run_id, pictures.TAG, "True")
        run.pictured = max(moments, default=0)

    def _close_run(self, run_id: str, record: TrialRecord) -> None:
        ended = milliseconds(record.ended) or 0
        step = record.best_epoch or 0
        metrics = [
            Metric(key, value, ended, step) for key, value in closing_numbers(record).items()
        ]
        tags = [RunTag(key, text) for key, text in closing_tags(record).items() if text]
        self._client.log_batch(run_id, metrics=metrics, tags=tags)
        self._client.set_terminated(run_id, STATUS[record.state], end_time=ended or None)
        if record.state == "complete" and not self._paths.confirms:
            self._send_best(record)

    def _send_best(self, record: TrialRecord | None = None) -> None:
        """The best value so far, on the study's run; of all trials unless they are there."""
        objective = self._config.objective
        key = objective.metric.replace("val/", "best/")
        if record is not None and self._best is not None:
            points = list(best_so_far([record], objective, self._best))
            known: dict[int, int] = {}
        else:
            try:
                points = list(best_so_far(read_records(self._paths), objective))
            except ConfigError:  # without a damaged trial, which is told of, the curve is another
                return
            known = self._runs.steps(self._parent, key)
        self._best = points[-1] if points else self._best
        metrics = [
            Metric(key, point.value, milliseconds(point.ended) or 0, point.number)
            for point in points
            if point.number not in known
        ]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(self._parent, metrics=metrics[start : start + BATCH])
