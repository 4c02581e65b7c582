"""A workspace with a confirmed study and another one, and the agreement of folder and indexes."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import optuna
from mlflow.entities import ViewType

from harness.config.study_files import read_study_config
from harness.core import files, strict_yaml
from harness.core.paths import StudyPaths, Workspace
from harness.core.records import read_record, read_records, write_record
from harness.evaluation.confirm.mirror import mirror_confirmation
from harness.maintenance.indexes import IndexOptions
from harness.maintenance.optuna_entry import enter_study
from harness.search.storage.location import resolve_storage
from harness.search.storage.storage import open_storage
from harness.tracking.sync import sync_study
from harness.tracking.uri import resolve_tracking_store
from tests.evaluation.confirm.test_load_confirmation import plan_of
from tests.evaluation.confirming import a_search, begun, trained
from tests.report.studies import Builder

SPACE = {
    "parameters": {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}},
    "fixed": {"train.epochs": 4},
}
RATE = {
    "name": "FloatDistribution",
    "attributes": {"step": None, "low": 1e-5, "high": 1e-2, "log": True},
}
OWN = IndexOptions()  # databases in the workspace
SEED = {
    "name": "IntDistribution",
    "attributes": {"log": False, "step": 1, "low": 0, "high": 2**32 - 1},
}


def make_workspace(root: Path, options: IndexOptions = OWN) -> Workspace:
    """Studies `tiny`, with a confirmation and a registered model, and `other`, with one trial."""
    confirmed = a_search(root).paths
    plan = plan_of([1, 2], 2)
    begun(confirmed, plan)
    for number, loss in enumerate([0.23, 0.45, 0.21, 0.47]):
        record = trained(confirmed, plan, number, [loss] * 60)
        trial = confirmed.confirm.trial(number)
        distributions = {"optim.lr": RATE, "train.seed": SEED}
        write_record(trial, record.model_copy(update={"distributions": distributions}))
        files.write_text(trial.config_yaml, "model:\n  arch: Unet\n")
        files.append_jsonl(trial.epochs_jsonl, {"epoch": 1, "time_ms": 5, "val/dice_loss": loss})
        files.write_text(trial.model / "model.safetensors", f"weights {number}")
        files.write_text(trial.model / "config.json", "{}")
    other = Builder(root, "other", config={"id": "1" * 32})
    other.trial(0, [0.5, 0.4], {"optim.lr": 1e-3})
    workspace = Workspace.at(root)
    for paths in (confirmed, other.paths):
        _finish(workspace, paths, options)
    return workspace


def _finish(workspace: Workspace, paths: StudyPaths, options: IndexOptions) -> None:
    """Give every trial an end, and fill both indexes."""
    for trial in paths.all_trials():
        times = {
            "started": "2026-11-20T09:00:00.000+00:00",
            "ended": "2026-11-20T09:01:00.000+00:00",
        }
        write_record(trial, read_record(trial.trial_json).model_copy(update=times))
    files.write_text(trial_weights(paths), "weights")
    files.write_text(paths.space_yaml, strict_yaml.dump_yaml(SPACE))
    if paths.confirm.study_yaml.exists():
        files.write_text(paths.confirm.space_yaml, strict_yaml.dump_yaml(SPACE))
    enter_study(workspace, paths, options, lambda line: None)
    config, uri = read_study_config(paths), options.tracking_uri
    store = resolve_tracking_store(workspace, paths, str(config.id), uri=uri)
    sync_study(store, paths, config)
    mirror_confirmation(paths, workspace, uri=uri, experiment=None)


def trial_weights(paths: StudyPaths) -> Path:
    """The weights of trial 0."""
    return paths.trial(0).model / "model.safetensors"


def copy_workspace(template: Path, target: Path) -> Workspace:
    """The same workspace in another place."""
    shutil.copytree(template, target, symlinks=True)
    return Workspace.at(target)


def snapshot(workspace: Workspace, name: str) -> dict[str, bytes]:
    """Every file of a study but those that name it or change by themselves."""
    root = workspace.studies / name
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name not in ("trial.json", ".lock")
    }


def assert_agreement(workspace: Workspace, names: set[str], options: IndexOptions = OWN) -> None:
    """These studies and no others: as folders, in Optuna and in MLflow, each whole."""
    folders = {path.parent.name for path in workspace.studies.glob("*/study.yaml")}
    assert folders == names
    assert {path.name for path in workspace.studies.iterdir()} == names, "no leftovers"
    assert not list(workspace.root.rglob(".operation.json"))
    expected: dict[str, tuple[str, int]] = {}
    for name in names:
        paths = workspace.study(name)
        for folder in (paths, paths.confirm):
            if folder.study_yaml.exists():
                records = read_records(folder)
                assert {record.study for record in records} == {folder.name}
                expected[folder.name] = (str(read_study_config(folder).id), len(records))
    assert optuna_studies(workspace, options) == expected
    searches = {name: expected[name][0] for name in names}
    assert_mlflow(workspace, searches, options)


def optuna_studies(workspace: Workspace, options: IndexOptions) -> dict[str, tuple[str, int]]:
    """Id and number of trials by name."""
    storage = open_storage(resolve_storage(workspace, options.storage))
    found = {
        summary.study_name: (summary.user_attrs["harness.study_id"], summary.n_trials)
        for summary in optuna.get_all_study_summaries(storage)
    }
    storage.engine.dispose()
    return found


def assert_mlflow(workspace: Workspace, ids: dict[str, str], options: IndexOptions) -> None:
    """One experiment for each study, whose runs, models and files have its name."""
    is_own = options.tracking_uri is None
    client = mlflow.MlflowClient(options.tracking_uri or f"sqlite:///{workspace.mlflow_db}")
    # A server keeps deleted experiments until `mlflow gc`.
    view = ViewType.ALL if is_own else ViewType.ACTIVE_ONLY
    experiments = [e for e in client.search_experiments(view) if e.name != "Default"]
    assert {e.name: e.tags["harness.study_id"] for e in experiments} == ids
    if is_own:
        folders = {path.name for path in workspace.mlruns.iterdir()} - {"0"}
        assert folders == set(ids.values())
    confirmed = set()
    for experiment in experiments:
        paths = workspace.study(experiment.name)
        runs = list(client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL))
        tags = sorted(
            run.data.tags["harness.trial"] for run in runs if "harness.trial" in run.data.tags
        )
        trials = [(f, trial) for f in (paths, paths.confirm) for trial in f.all_trials()]
        assert tags == sorted(f"{folder.name}/{trial.number}" for folder, trial in trials)
        (study_run,) = [run for run in runs if run.data.tags["harness.role"] == "study"]
        assert study_run.info.run_name == experiment.name
        if paths.confirm.study_yaml.exists():
            confirmed.add(experiment.name)
            assert_models(client, experiment.name, experiment.experiment_id)
    assert {model.name for model in client.search_registered_models()} == confirmed


def assert_models(client: mlflow.MlflowClient, name: str, experiment: str) -> None:
    """Champion and LoggedModels of a confirmed study, under its name."""
    version = client.get_model_version_by_alias(name, "champion")
    assert version.tags["harness.confirms"] == f"{name}/1"
    assert version.tags["harness.trial"].startswith(f"{name}.confirm/")
    with TemporaryDirectory() as target:
        folder = mlflow.artifacts.download_artifacts(
            str(version.source), dst_path=target, tracking_uri=client.tracking_uri
        )
        assert (Path(folder) / "model.safetensors").read_text().startswith("weights")
    logged: Any = client.search_logged_models([experiment])
    assert sorted(model.tags["harness.trial"] for model in logged) == [f"{name}/1", f"{name}/2"]
    listed = [json.loads(m.tags.get("mlflow.modelVersions", "[]")) for m in logged]
    assert {one["name"] for versions in listed for one in versions} == {name}
