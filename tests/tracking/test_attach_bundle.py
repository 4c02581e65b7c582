"""Champion and bundles of a confirmed study, in a real SQLite store."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from harness.config.study_files import read_study_config
from harness.core import files
from harness.core.errors import TrackingError
from harness.core.paths import StudyPaths, Workspace
from harness.evaluation.confirm.load_confirmation import (
    build_champion,
    build_entries,
    load_confirmation,
)
from harness.tracking.sync import attach_bundle, log_champion
from harness.tracking.uri import TrackingStore, resolve_tracking_store
from tests.evaluation.confirm.test_load_confirmation import plan_of
from tests.evaluation.confirming import a_search, begun, trained
from tests.tracking.bundles import write_bundle
from tests.tracking.test_mirror import around


class ConfirmedStudy(NamedTuple):
    """A study of which trial 1 is confirmed, with trial 2 of the confirmation as its weights."""

    paths: StudyPaths
    store: TrackingStore

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.store.uri)

    def _result(self) -> tuple[Any, ...]:
        confirmation = load_confirmation(self.paths)
        assert confirmation is not None
        champion = build_champion(self.paths, confirmation)
        config = read_study_config(self.paths.confirm)
        entries = build_entries(self.paths, confirmation)
        return self.store, self.paths.confirm, config, champion, entries

    def sync(self) -> None:
        log_champion(*self._result())

    def attach(self, bundle: Path) -> str | None:
        return attach_bundle(*self._result(), bundle)

    def champion(self) -> ModelVersion:
        return self.client.get_model_version_by_alias("tiny", "champion")

    def versions(self) -> list[int]:
        found = self.client.search_model_versions("name = 'tiny'")
        return sorted(int(version.version) for version in found)


@pytest.fixture
def unsynced(tmp_path: Path, empty_database: Path) -> ConfirmedStudy:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 2)
    begun(paths, plan)
    for number, loss in enumerate([0.23, 0.45, 0.21, 0.47]):
        trained(paths, plan, number, [loss] * 60)
        trial = paths.confirm.trial(number)
        files.write_text(trial.config_yaml, "model:\n  arch: Unet\n")
        files.append_jsonl(trial.epochs_jsonl, {"epoch": 1, "time_ms": 5, "val/dice_loss": loss})
        files.write_text(trial.model / "model.safetensors", f"weights {number}")
        files.write_text(trial.model / "config.json", "{}")
    workspace = Workspace.at(tmp_path)
    store = resolve_tracking_store(workspace, paths, str(read_study_config(paths).id))
    return ConfirmedStudy(paths, store)


@pytest.fixture
def study(unsynced: ConfirmedStudy) -> ConfirmedStudy:
    """The same, with version 1 of its registered model: the bare weights."""
    unsynced.sync()
    assert unsynced.champion().version == 1
    return unsynced


def test_version_with_the_bundle_is_the_champion_and_stays_it(
    study: ConfirmedStudy, tmp_path: Path
) -> None:
    assert study.attach(write_bundle(tmp_path / "bundle")) == "models:/tiny/2"
    study.sync()
    version = study.champion()
    assert (version.version, study.versions()) == (2, [1, 2])
    (model,) = study.client.search_logged_models(["1"], "tags.`harness.choice` = 'yes'")
    versions = [{"name": "tiny", "version": number} for number in (1, 2)]
    assert json.loads(model.tags["mlflow.modelVersions"]) == versions
    assert version.run_id == model.source_run_id
    assert version.tags["harness.confirms"] == "tiny/1"
    assert not study.paths.confirm.outbox.exists()
    folder = Path(str(version.source).removeprefix("file://"))
    assert (folder / "artifacts/bundle/model.onnx").read_text() == "0.5"


def test_same_bundle_is_attached_once_and_a_new_one_is_a_new_version(
    study: ConfirmedStudy, tmp_path: Path
) -> None:
    first = write_bundle(tmp_path / "first")
    assert [study.attach(first) for _ in range(2)] == ["models:/tiny/2"] * 2
    assert study.attach(write_bundle(tmp_path / "second", trial="other")) == "models:/tiny/3"
    study.sync()
    assert (study.champion().version, study.versions()) == (3, [1, 2, 3])
    assert study.attach(first) == "models:/tiny/2"
    study.sync()
    assert study.champion().version == 2
    for number in ("2", "3"):
        source = study.client.get_model_version_download_uri("tiny", number)
        assert mlflow.pyfunc.load_model(source) is not None


def test_alias_that_points_elsewhere_returns_to_the_bundle(
    study: ConfirmedStudy, tmp_path: Path
) -> None:
    study.attach(write_bundle(tmp_path / "bundle"))
    study.client.set_registered_model_alias("tiny", "champion", "1")
    study.sync()
    assert study.champion().version == 2


def test_other_weights_are_not_served_by_an_old_bundle(
    study: ConfirmedStudy, tmp_path: Path
) -> None:
    study.attach(write_bundle(tmp_path / "bundle"))
    trial = study.paths.confirm.trial(2)
    files.write_text(trial.model / "model.safetensors", "trained again")
    text = trial.trial_json.read_text().replace("2026-11-20T10:02", "2026-11-20T11:02")
    trial.trial_json.write_text(text)
    study.sync()
    version = study.champion()
    assert version.version == 3 and "harness.bundle" not in version.tags


def test_bundle_whose_files_are_gone_is_no_champion(study: ConfirmedStudy, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    study.attach(bundle)
    folder = Path(str(study.champion().source).removeprefix("file://"))
    shutil.rmtree(folder)
    study.sync()
    assert study.champion().version == 1
    assert study.attach(bundle) == "models:/tiny/2"
    assert (folder / "MLmodel").is_file()
    assert study.champion().version == 2


def test_interrupted_upload_is_completed(
    study: ConfirmedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "bundle")

    def call(real: Callable[[], Any]) -> Any:
        real()
        raise MlflowException("API request failed with timeout exception")

    for name in ("log_artifacts", "create_model_version"):
        with monkeypatch.context() as patch:
            around(patch, (name,), call)
            with pytest.raises(TrackingError, match="timeout"):
                study.attach(bundle)
    assert study.attach(bundle) == "models:/tiny/2"
    assert study.versions() == [1, 2]


def test_version_that_a_repeated_call_has_doubled_is_removed(
    study: ConfirmedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        around(patch, ("create_model_version",), lambda real: (real(), real())[1])
        assert study.attach(write_bundle(tmp_path / "bundle")) == "models:/tiny/2"
    assert study.versions() == [1, 2]


def test_damaged_bundle_leaves_the_champion_alone(study: ConfirmedStudy, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / "model.onnx").write_text("0.1")
    with pytest.raises(TrackingError, match=r"model\.onnx: its hash differs"):
        study.attach(bundle)
    assert study.champion().version == 1


def test_study_that_mlflow_does_not_know_gets_no_version(
    unsynced: ConfirmedStudy, tmp_path: Path
) -> None:
    assert unsynced.attach(write_bundle(tmp_path / "bundle")) is None
    assert unsynced.client.search_registered_models() == []
