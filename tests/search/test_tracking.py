import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from harness.core.records import read_epochs, read_records, write_record
from harness.tracking.sync import log_report, sync_study
from tests.search.fakes import STUDY_ID
from tests.search.mirroring import MirrorStudy, new_study


@pytest.fixture
def study(tmp_path: Path, empty_database: Path) -> MirrorStudy:
    """A study of three finished trials that MLflow does not know yet."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    study = new_study(tmp_path)
    study.run(3)
    return study


def mirrored(study: MirrorStudy) -> dict[str, Run]:
    """Mirror the study once more; its runs by name."""
    mirror = study.mirror()
    assert mirror.finish() == ""
    client = study.client()
    experiment = client.search_experiments(filter_string=f"tags.`harness.study_id` = '{STUDY_ID}'")
    runs = client.search_runs([experiment[0].experiment_id])
    return {run.info.run_name: run for run in runs}


def test_states_become_statuses(study: MirrorStudy) -> None:
    runs = mirrored(study)
    states = {record.number: record.state for record in read_records(study.paths)}
    assert states == {0: "complete", 1: "complete", 2: "failed"}
    assert {name: run.info.status for name, run in runs.items()} == {
        "s": "FINISHED",
        "trial 0000": "FINISHED",
        "trial 0001": "FINISHED",
        "trial 0002": "FAILED",
    }
    assert runs["trial 0002"].data.tags["harness.failure"] == "diverged"


def test_trials_are_children_of_the_study(study: MirrorStudy) -> None:
    runs = mirrored(study)
    parent = runs["s"]
    assert parent.data.tags["mlflow.note.content"].startswith("- Question: Which rate?\n")
    assert parent.data.params["objective.metric"] == "val/dice_loss"
    for number in range(3):
        tags = runs[f"trial {number:04d}"].data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert tags["harness.trial"] == f"s/{number}"


def test_epochs_parameters_and_input(study: MirrorStudy) -> None:
    paths = study.paths
    run = mirrored(study)["trial 0000"]
    history = study.client().get_metric_history(run.info.run_id, "val/dice_loss")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert [m.timestamp for m in history] == [e["time_ms"] for e in read_epochs(paths.trial(0))]
    assert run.data.metrics["best/dice_loss"] == 0.125
    assert run.data.metrics["best/epoch"] == 3
    record = read_records(paths)[0]
    assert float(run.data.params["optim.lr"]) == record.params["optim.lr"]
    assert run.data.params["train.epochs"] == "3"
    assert len(run.inputs.dataset_inputs) == 1


def test_only_metrics_to_sort_by_are_single_points(study: MirrorStudy) -> None:
    trial = study.paths.trial(0)
    record = read_records(study.paths)[0]
    best = {"best/dice_loss": 0.125, "best/dice": 0.875, "best/recall": 0.8}
    costs = {"cost/seconds": 3.0, "cost/gflops": 1.5, "cost/parameters": 11377600.0}
    write_record(trial, record.model_copy(update={"best": best, "costs": costs}))
    run = mirrored(study)["trial 0000"]
    final = {key for key in run.data.metrics if key.startswith(("best/", "cost/"))}
    assert final == {"best/dice_loss", "best/dice", "best/epoch", "cost/parameters", "cost/seconds"}
    note = run.data.tags["mlflow.note.content"].splitlines()
    assert note[0] == "- State: complete, best epoch 3 of 3 planned"
    assert "| best/recall | 0.8 |" in note
    assert "| cost/gflops | 1.5 |" in note
    assert "| cost/parameters | 11,377,600 |" in note


def test_note_of_a_person_stays_on_the_run_of_a_trial(study: MirrorStudy) -> None:
    record = read_records(study.paths)[0]
    running = record.model_copy(update={"state": "running", "ended": None})
    write_record(study.paths.trial(0), running)
    run = mirrored(study)["trial 0000"]
    assert "mlflow.note.content" not in run.data.tags
    study.client().set_tag(run.info.run_id, "mlflow.note.content", "check the labels")
    write_record(study.paths.trial(0), record)
    assert mirrored(study)["trial 0000"].data.tags["mlflow.note.content"] == "check the labels"


def test_overlays_are_in_the_image_grid(study: MirrorStudy) -> None:
    run = mirrored(study)["trial 0000"]
    images = study.client().list_artifacts(run.info.run_id, "images")
    steps = sorted(item.path.split("+step+")[1][0] for item in images if item.path.endswith(".png"))
    assert steps == ["1", "2", "3"]
    assert all(item.path.startswith("images/val~overlay~2+step+") for item in images)


def test_mirroring_again_doubles_nothing(study: MirrorStudy) -> None:
    def everything() -> list[object]:
        client = study.client()
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
    study: MirrorStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(mlflow.MlflowClient, "create_run", lambda *a, **k: 1 / 0)
        mirror = study.mirror()
        mirror.note(0)
        mirror.finish()
        assert "ZeroDivisionError" in str(mirror.error)
    assert len(mirrored(study)) == 4  # the next one catches up


def test_report_becomes_an_artifact(study: MirrorStudy) -> None:
    paths = study.paths
    paths.report_html.write_text("<html>", encoding="utf-8")
    mirrored(study)
    log_report(study.tracker(), paths, study.definition.config)
    run = mirrored(study)["s"]
    names = {item.path for item in study.client().list_artifacts(run.info.run_id)}
    assert names == {"study.yaml", "space.yaml", "split.csv", "report.html"}


def test_best_so_far_is_a_curve_of_the_study(study: MirrorStudy) -> None:
    run = mirrored(study)["s"]
    history = study.client().get_metric_history(run.info.run_id, "best/dice_loss")
    assert [(m.step, m.value) for m in history] == [(0, 0.125), (1, 0.125)]  # the third failed


def test_numbers_worked_out_later_join_the_runs_of_their_trials(study: MirrorStudy) -> None:
    mirrored(study)
    numbers = {0: {"best/dice_low": 0.25, "best/dice_high": 0.75}, 99: {"best/dice_low": 0.5}}
    for _ in range(2):
        log_report(study.tracker(), study.paths, study.definition.config, numbers)
    runs = mirrored(study)
    run = runs["trial 0000"]
    assert run.data.metrics["best/dice_low"] == 0.25
    assert run.data.metrics["best/dice_high"] == 0.75
    assert len(study.client().get_metric_history(run.info.run_id, "best/dice_low")) == 1
    assert all("best/dice_low" not in other.data.metrics for n, other in runs.items() if "1" in n)


def test_records_name_their_runs_and_keep_everything_else(study: MirrorStudy) -> None:
    """In the store that the study was copied to last, also where the run was there before."""
    before = read_records(study.paths)
    assert [record.mlflow_run_id for record in before] == [None] * 3
    runs = mirrored(study)
    after = read_records(study.paths)
    ids = [runs[f"trial {number:04d}"].info.run_id for number in range(3)]
    assert [record.mlflow_run_id for record in after] == ids
    bare = [record.model_copy(update={"mlflow_run_id": None}) for record in after]
    assert bare == before
    for record in before:  # as an earlier version left them
        write_record(study.paths.trial(record.number), record)
    sync_study(study.tracker(), study.paths, study.definition.config)
    assert read_records(study.paths) == after
    elsewhere = f"sqlite:///{study.workspace.root}/other.db"
    sync_study(study.tracker(elsewhere), study.paths, study.definition.config)
    again = [record.mlflow_run_id for record in read_records(study.paths)]
    assert None not in again and not set(again) & set(ids)
