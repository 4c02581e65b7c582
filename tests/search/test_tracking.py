from pathlib import Path

import cv2
import mlflow
import numpy as np
import pytest
from mlflow.entities import Run

from harness.data.splits import SplitRow
from harness.execution.protocol import TrialTask
from harness.paths import StudyPaths, TrialPaths, Workspace
from harness.records import read_epochs, read_records
from harness.search.definition import Definition, write_definition
from harness.search.tracker import Tracker, find_tracker
from harness.search.tracking import Mirror, log_report
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


@pytest.fixture
def study(tmp_path: Path) -> tuple[Workspace, StudyPaths, Definition]:
    """A study of three finished trials that MLflow does not know yet."""
    workspace = Workspace(tmp_path)
    paths = workspace.study("s")
    definition = definition_of(SPACE, question="Which rate?")
    write_definition(paths, definition, ROWS)
    executor = PaintingExecutor(lambda task: CURVES[task.number])
    controller_of(tmp_path, definition, executor, Silence()).run(3)
    return workspace, paths, definition


def mirrored(study: tuple[Workspace, StudyPaths, Definition]) -> dict[str, Run]:
    """Mirror the study once more; its runs by name."""
    workspace, paths, definition = study
    mirror = Mirror(tracker_of(study), paths, definition.config)
    mirror.finish()
    if mirror.error is not None:
        raise mirror.error
    client = client_of(workspace)
    experiment = client.search_experiments(filter_string=f"tags.`harness.study_id` = '{STUDY_ID}'")
    runs = client.search_runs([experiment[0].experiment_id])
    return {run.info.run_name: run for run in runs}


def tracker_of(study: tuple[Workspace, StudyPaths, Definition]) -> Tracker:
    workspace, paths, _ = study
    return find_tracker(workspace, paths, STUDY_ID)


def client_of(workspace: Workspace) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{workspace.mlflow_db}")


def test_states_become_statuses(study: tuple[Workspace, StudyPaths, Definition]) -> None:
    runs = mirrored(study)
    states = {record.number: record.state for record in read_records(study[1])}
    assert states == {0: "complete", 1: "complete", 2: "failed"}
    assert {name: run.info.status for name, run in runs.items()} == {
        "s": "FINISHED",
        "trial 0000": "FINISHED",
        "trial 0001": "FINISHED",
        "trial 0002": "FAILED",
    }
    assert runs["trial 0002"].data.tags["harness.failure"] == "diverged"


def test_trials_are_children_of_the_study(study: tuple[Workspace, StudyPaths, Definition]) -> None:
    runs = mirrored(study)
    parent = runs["s"]
    assert parent.data.tags["mlflow.note.content"] == "Which rate?"
    assert parent.data.params["objective.metric"] == "val/dice_loss"
    for number in range(3):
        tags = runs[f"trial {number:04d}"].data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert tags["harness.trial"] == f"s/{number}"


def test_epochs_parameters_and_input(study: tuple[Workspace, StudyPaths, Definition]) -> None:
    workspace, paths, _ = study
    run = mirrored(study)["trial 0000"]
    history = client_of(workspace).get_metric_history(run.info.run_id, "val/dice_loss")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert [m.timestamp for m in history] == [e["time_ms"] for e in read_epochs(paths.trial(0))]
    assert run.data.metrics["best/dice_loss"] == 0.125
    assert run.data.metrics["best/epoch"] == 3
    record = read_records(paths)[0]
    assert float(run.data.params["optim.lr"]) == record.params["optim.lr"]
    assert run.data.params["train.epochs"] == "3"
    assert len(run.inputs.dataset_inputs) == 1


def test_overlays_are_in_the_image_grid(study: tuple[Workspace, StudyPaths, Definition]) -> None:
    workspace, _, _ = study
    run = mirrored(study)["trial 0000"]
    images = client_of(workspace).list_artifacts(run.info.run_id, "images")
    steps = sorted(item.path.split("+step+")[1][0] for item in images if item.path.endswith(".png"))
    assert steps == ["1", "2", "3"]
    assert all(item.path.startswith("images/val~overlay~2+step+") for item in images)


def test_mirroring_again_doubles_nothing(study: tuple[Workspace, StudyPaths, Definition]) -> None:
    def everything() -> list[object]:
        client = client_of(study[0])
        found: list[object] = []
        for name, run in sorted(mirrored(study).items()):
            history = client.get_metric_history(run.info.run_id, "val/dice_loss")
            images = client.list_artifacts(run.info.run_id, "images")
            found.append((name, run.info.run_id, len(history), sorted(i.path for i in images)))
        return found

    first = everything()
    assert len(first) == 4
    assert everything() == first


def test_failure_is_kept_and_training_is_not_disturbed(
    study: tuple[Workspace, StudyPaths, Definition], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, paths, definition = study
    with monkeypatch.context() as broken:
        broken.setattr(mlflow.MlflowClient, "create_run", lambda *a, **k: 1 / 0)
        mirror = Mirror(tracker_of(study), paths, definition.config)
        mirror.note(0)
        mirror.finish()
        assert "ZeroDivisionError" in str(mirror.error)
    assert len(mirrored(study)) == 4  # the next one catches up


def test_report_becomes_an_artifact(study: tuple[Workspace, StudyPaths, Definition]) -> None:
    workspace, paths, definition = study
    paths.report_html.write_text("<html>", encoding="utf-8")
    mirrored(study)
    log_report(tracker_of(study), paths, definition.config)
    run = mirrored(study)["s"]
    names = {item.path for item in client_of(workspace).list_artifacts(run.info.run_id)}
    assert names == {"study.yaml", "space.yaml", "split.csv", "report.html"}
