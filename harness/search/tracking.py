"""The mirror in MLflow: a background thread that copies trial folders into runs.

The folders are the truth. Everything here looks up what MLflow already has and adds what is
missing, so that it may be repeated at any time and never doubles anything. Nothing waits for it
but the end of the study.

Tree: experiment = study (tag harness.study_id) > run of the study (tag harness.role = study)
> one run per trial (tag harness.trial = <study>/<number>).
"""

import contextlib
import json
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from harness import files, strict_yaml
from harness.config import StudyConfig
from harness.paths import StudyPaths, TrialPaths, Workspace
from harness.records import TrialRecord, read_epochs, read_record
from harness.search.mirrored import epoch_and_row, label_tags, milliseconds
from harness.settings import flatten
from harness.training.checkpoint import checkpoint_epoch

STUDY_TAG, TRIAL_TAG, ROLE_TAG = "harness.study_id", "harness.trial", "harness.role"
KIND_TAG = "mlflow.experimentKind"
STATUS = {"running": "RUNNING", "complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
BATCH = 900  # metrics a call; MLflow takes 1000
LONGEST_PARAM = 6000  # MLflow refuses more; the names of 255 classes may be
OVERLAY_KEY = "val/overlay"


class Mirror:
    """Copies one study into MLflow's default store in the workspace.

    Args:
        workspace: where mlflow.db and mlruns/ live.
        paths: the study's folder.
        config: its definition.
    """

    def __init__(self, workspace: Workspace, paths: StudyPaths, config: StudyConfig) -> None:
        self._workspace = workspace
        self._paths = paths
        self._config = config
        self._writer: _Writer | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._pending: dict[int, None] = {}  # numbers in order of arrival, each once
        self._last = False
        self.error: Exception | None = None

    def note(self, number: int) -> None:
        """Trial `number` has something new; returns at once."""
        with self._changed:
            self._pending[number] = None
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, daemon=True)
            self._thread.start()

    def finish(self, timeout_s: float = 120.0) -> None:
        """Copy whatever is missing of the whole study, then end the thread."""
        for trial in self._paths.all_trials():
            self.note(trial.number)
        with self._changed:
            self._last = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _serve(self) -> None:
        while (number := self._next()) is not None:
            self._try(lambda writer, number=number: writer.copy_trial(number))  # type: ignore[misc]
        self._try(lambda writer: writer.copy_study())

    def _next(self) -> int | None:
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._last)
            if not self._pending:
                return None
            number = next(iter(self._pending))
            del self._pending[number]
            return number

    def _try(self, copy: "Callable[[_Writer], None]") -> None:
        """Training goes on whatever happens here; the next copy catches up."""
        try:
            if self._writer is None:
                self._writer = _Writer(self._workspace, self._paths, self._config)
            copy(self._writer)
            self.error = None
        except Exception as error:
            self.error = error


def log_report(workspace: Workspace, paths: StudyPaths, config: StudyConfig) -> None:
    """Put the study's current report and tables into MLflow."""
    _Writer(workspace, paths, config).copy_study()


class _Writer:
    """MLflow's client, and what it is known to hold already."""

    def __init__(self, workspace: Workspace, paths: StudyPaths, config: StudyConfig) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        new = not workspace.mlflow_db.exists()
        self._client = mlflow.MlflowClient(f"sqlite:///{workspace.mlflow_db}")
        self._paths = paths
        self._config = config
        self._experiment = self._find_experiment(workspace)
        if new:
            _write_ahead(workspace.mlflow_db)
        self._parent = self._find_run(f"tags.`{ROLE_TAG}` = 'study'") or self._create_parent()
        self._runs: dict[int, str] = {}
        self._shipped: dict[int, int] = {}  # trial -> metrics sent
        self._overlays: dict[int, set[str]] = {}
        self._closed: set[int] = set()

    def copy_trial(self, number: int) -> None:
        """Bring the run of a trial up to its folder."""
        trial = self._paths.trial(number)
        if number in self._closed or not trial.trial_json.exists():
            return
        record = read_record(trial.trial_json)
        if record.imported is not None:
            return  # it has its run already, in the study that trained it
        run_id = self._runs.get(number) or self._open_run(record, trial)
        self._copy_metrics(run_id, record, trial)
        self._copy_overlays(run_id, number, trial)
        if record.state != "running":
            self._close_run(run_id, record, trial)
            self._closed.add(number)

    def copy_study(self) -> None:
        """Definition, split, tables and report, as artifacts of the study's own run."""
        for path in (
            self._paths.study_yaml,
            self._paths.space_yaml,
            self._paths.split_csv,
            self._paths.trials_csv,
            self._paths.report_html,
        ):
            if path.exists():
                self._client.log_artifact(self._parent, str(path))
        self._client.set_terminated(self._parent, "FINISHED")

    def _find_experiment(self, workspace: Workspace) -> str:
        wanted = f"tags.`{STUDY_TAG}` = '{self._config.id}'"
        found = self._client.search_experiments(filter_string=wanted)
        if found:
            return str(found[0].experiment_id)
        return str(
            self._client.create_experiment(
                self._paths.name,
                artifact_location=(workspace.mlruns / str(self._config.id)).as_uri(),
                # Without the second one MLflow's pages open as a tool for chat models.
                tags={STUDY_TAG: self._config.id, KIND_TAG: "custom_model_development"},
            )
        )

    def _find_run(self, wanted: str) -> str | None:
        found = self._client.search_runs([self._experiment], wanted, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _create_parent(self) -> str:
        tags = {ROLE_TAG: "study", "mlflow.note.content": self._config.question or ""}
        run = self._client.create_run(self._experiment, tags=tags, run_name=self._paths.name)
        definition = _flat_definition(self._config)
        self._client.log_batch(run.info.run_id, params=_params(definition))
        return str(run.info.run_id)

    def _open_run(self, record: TrialRecord, trial: TrialPaths) -> str:
        number = record.number
        label = f"{self._paths.name}/{number}"
        run_id = self._find_run(f"tags.`{TRIAL_TAG}` = '{label}'")
        if run_id is None:
            tags = {TRIAL_TAG: label, ROLE_TAG: "trial", "mlflow.parentRunId": self._parent}
            tags |= label_tags(record.labels)
            run = self._client.create_run(
                self._experiment,
                start_time=milliseconds(record.started),
                tags=tags,
                run_name=f"trial {number:04d}",
            )
            run_id = str(run.info.run_id)
        if not self._client.get_run(run_id).data.params:
            text = trial.config_yaml.read_text(encoding="utf-8")
            config = strict_yaml.load(text, place=str(trial.config_yaml)).value
            self._client.log_batch(run_id, params=_params(flatten(config)))
            self._client.log_inputs(run_id, datasets=[self._dataset()])
        self._runs[number] = run_id
        self._overlays[number] = {
            Path(item.path).name.partition("+timestamp")[0]
            for item in self._client.list_artifacts(run_id, "images")
        }
        return run_id

    def _copy_metrics(self, run_id: str, record: TrialRecord, trial: TrialPaths) -> None:
        """Epochs that a checkpoint holds; all of them once the trial has ended."""
        safe = checkpoint_epoch(trial) if record.state == "running" else record.epochs
        done = self._shipped.get(record.number, 0)
        epochs = [e for e in read_epochs(trial) if done < e["epoch"] <= safe]
        metrics = [
            Metric(key, float(value), int(epoch["time_ms"]), int(epoch["epoch"]))
            for epoch in epochs
            for key, value in epoch.items()
            if key not in ("epoch", "time_ms")
        ]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        if epochs:
            self._shipped[record.number] = int(epochs[-1]["epoch"])

    def _copy_overlays(self, run_id: str, number: int, trial: TrialPaths) -> None:
        for path in sorted(trial.overlays.glob("*-*.png"), key=epoch_and_row):
            epoch, row = epoch_and_row(path)
            key = f"{OVERLAY_KEY}/{row}"
            name = f"{key.replace('/', '~')}+step+{epoch}"
            if epoch > self._shipped.get(number, 0) or name in self._overlays[number]:
                continue
            image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
            if image is not None:
                self._client.log_image(run_id, image, key=key, step=epoch)
                self._overlays[number].add(name)

    def _close_run(self, run_id: str, record: TrialRecord, trial: TrialPaths) -> None:
        ended = milliseconds(record.ended) or 0
        step = record.best_epoch or 0
        numbers = dict(record.best) | dict(record.costs)
        if record.best_epoch is not None:
            numbers["best/epoch"] = float(record.best_epoch)
        metrics = [Metric(key, float(value), ended, step) for key, value in numbers.items()]
        tags = {
            "harness.device": record.device or "",
            "harness.precision": record.precision or "",
            "harness.git_commit": record.git_commit or "",
            "harness.versions": json.dumps(record.versions),
            "harness.failure": "" if record.failure is None else record.failure.cause,
            "harness.repeats": "" if record.repeats is None else str(record.repeats),
        }
        self._client.log_batch(
            run_id, metrics=metrics, tags=[RunTag(k, v) for k, v in tags.items() if v]
        )
        for path in (trial.config_yaml, trial.scores_csv):
            if path.exists():
                self._client.log_artifact(run_id, str(path))
        self._client.set_terminated(run_id, STATUS[record.state], end_time=ended or None)

    def _dataset(self) -> DatasetInput:
        """The split as a logged input: its digest changes when any image or role does."""
        rows = self._paths.split_csv.read_text(encoding="utf-8").splitlines()[1:]
        digest = files.sha256(self._paths.split_csv)
        dataset = Dataset(
            name=Path(self._config.data.root).name or "data",
            digest=digest[:16],
            source_type="local",
            source=json.dumps({"root": self._config.data.root, "split": "split.csv"}),
            profile=json.dumps({"images": len(rows), "split_sha256": digest}),
        )
        return DatasetInput(dataset, [InputTag("mlflow.data.context", "train and val")])


def _flat_definition(config: StudyConfig) -> dict[str, Any]:
    """The definition by full keys; `data.values` in one, as MLflow takes no `#` in a key."""
    definition = config.definition()
    values = definition["data"].pop("values")
    return flatten(definition) | {"data.values": values}


def _params(flat: dict[str, Any]) -> list[Param]:
    return [
        Param(key, (json.dumps(v) if isinstance(v, list | dict) else str(v))[:LONGEST_PARAM])
        for key, v in flat.items()
    ]


def _write_ahead(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # kept in the file from now on
