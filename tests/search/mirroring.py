"""A small study to be mirrored, and what MLflow holds of it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import mlflow
import numpy as np

from harness.core.paths import StudyPaths, TrialPaths, Workspace
from harness.core.records import read_epochs, read_records
from harness.data.splits.splits import SplitRow
from harness.execution.protocol import TrialTask
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.write_definition import write_definition
from harness.tracking.fields import final_metrics
from harness.tracking.mirror import Mirror
from harness.tracking.uri import TrackingStore, resolve_tracking_store
from tests.search.fakes import STUDY_ID, FakeExecutor, Silence, controller_of, definition_of

SPACE = {
    "parameters": {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}},
    "fixed": {"train.epochs": 3},
}
CURVES = [[0.5, 0.25, 0.125], [0.9, 0.8, 0.7], [0.5, 2.0, 0.1]]  # the last one diverges
ROWS = [
    SplitRow(i, f"images/{i}.png", f"masks/{i}.png", role, f"images/{i}.png", "0" * 64, "1" * 64)
    for i, role in enumerate(["train", "train", "val"])
]


class PaintingExecutor(FakeExecutor):
    """Leaves an overlay of row 2 after every epoch, as a worker does."""

    def _report(self, task: TrialTask, epoch: int) -> None:
        path = TrialPaths(task.trial_dir).overlay(epoch, 2)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 8, 3), 10 * epoch, np.uint8))
        super()._report(task, epoch)


class Telling(Silence):
    def __init__(self, mirror: Mirror) -> None:
        super().__init__()
        self._mirror = mirror

    def note(self, number: int) -> None:
        self._mirror.note(number)


class MirrorStudy(NamedTuple):
    workspace: Workspace
    paths: StudyPaths
    definition: StudyDefinition

    def run(self, trials: int, mirror: Mirror | None = None) -> PaintingExecutor:
        """Play trials up to this number, and notify the mirror of them."""
        executor = PaintingExecutor(lambda task: CURVES[task.number])
        notes = Silence() if mirror is None else Telling(mirror)
        controller_of(self.workspace.root, self.definition, executor, notes).run(trials)
        return executor

    def tracker(self, uri: str | None = None, experiment: str | None = None) -> TrackingStore:
        return resolve_tracking_store(
            self.workspace, self.paths, STUDY_ID, uri=uri, experiment=experiment
        )

    def mirror(self, uri: str | None = None, **options: object) -> Mirror:
        return Mirror(self.tracker(uri), self.paths, self.definition.config, **options)  # type: ignore[arg-type]

    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(f"sqlite:///{self.workspace.mlflow_db}")


def new_study(root: Path) -> MirrorStudy:
    """A started study without trials."""
    workspace = Workspace(root)
    paths = workspace.study("s")
    definition = definition_of(SPACE, question="Which rate?", pruner={"name": "none"})
    write_definition(paths, definition, ROWS)
    return MirrorStudy(workspace, paths, definition)


def assert_all_there_once(study: MirrorStudy, client: mlflow.MlflowClient) -> None:
    """Runs, every metric of every epoch, results and pictures: as in the folder, each once."""
    wanted = f"tags.`harness.study_id` = '{STUDY_ID}'"
    experiment = client.search_experiments(filter_string=wanted)[0].experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    records = read_records(study.paths)
    names = ["s", *(f"trial {record.number:04d}" for record in records)]
    assert sorted(run.info.run_name for run in client.search_runs([experiment])) == names
    for record in records:
        run = runs[f"trial {record.number:04d}"]
        assert record.mlflow_run_id == run.info.run_id
        epochs = read_epochs(study.paths.trial(record.number))
        keys = set(run.data.metrics)
        assert keys == {"val/dice_loss", *final_metrics(record, study.definition.config.objective)}
        held = [
            (m.step, m.timestamp, m.value)
            for m in client.get_metric_history(run.info.run_id, "val/dice_loss")
        ]
        sent = [(e["epoch"], e["time_ms"], e["val/dice_loss"]) for e in epochs]
        assert sorted(held) == sent
        final = final_metrics(record, study.definition.config.objective)
        for key, value in final.items():
            assert [m.value for m in client.get_metric_history(run.info.run_id, key)] == [value]
        images = [Path(i.path).name for i in client.list_artifacts(run.info.run_id, "images")]
        steps = sorted(i.split("+step+")[1][0] + Path(i).suffix for i in images)
        assert steps == sorted(f"{int(e['epoch'])}{s}" for e in epochs for s in (".png", ".webp"))
        assert len(run.inputs.dataset_inputs) == 1
        assert run.data.params["train.epochs"] == "3"
        states = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
        assert run.info.status == states[record.state]
    complete = [record for record in records if record.state == "complete"]
    best = client.get_metric_history(runs["s"].info.run_id, "best/dice_loss")
    assert len(best) == len(complete)


class Server:
    """A real `mlflow server` that keeps artifacts for its clients; may be killed and restarted."""

    def __init__(self, folder: Path, *words: str, **env: str) -> None:
        self._folder, self._words, self._env = folder, words, env
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--workers", "1", "--serve-artifacts"),
            *("--backend-store-uri", f"sqlite:///{self._folder}/server.db"),
            *("--artifacts-destination", str(self._folder / "artifacts"), *self._words),
        ]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | self._env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 200
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < until, (self._folder / "server.log").read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def serving(folder: Path, *words: str, **env: str) -> Iterator[Server]:
    """A server that is not started yet, and is killed at the end."""
    folder.mkdir()
    server = Server(folder, *words, **env)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
