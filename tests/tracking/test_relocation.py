"""A workspace that was moved or copied: MLflow's tables follow it."""

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.paths import Workspace
from harness.tracking.client import open_client
from harness.tracking.relocation import local_path
from harness.tracking.sync import sync_study
from tests.search.fakes import STUDY_ID
from tests.search.mirroring import MirrorStudy, assert_all_there_once, new_study


@pytest.fixture
def study(tmp_path: Path, empty_database: Path) -> MirrorStudy:
    """Two trials in the workspace `one`, which MLflow has."""
    (tmp_path / "one").mkdir()
    shutil.copyfile(empty_database, tmp_path / "one" / "mlflow.db")
    study = new_study(tmp_path / "one")
    study.run(2)
    synced(study)
    return study


def synced(study: MirrorStudy, uri: str | None = None) -> list[str]:
    """Lines logged while MLflow was brought up to date."""
    said: list[str] = []
    sync_study(study.tracker(uri), study.paths, study.definition.config, said.append)
    return said


def there(study: MirrorStudy, root: Path) -> MirrorStudy:
    """The same study in another workspace."""
    workspace = Workspace(root)
    return MirrorStudy(workspace, workspace.study("s"), study.definition)


def places(database: Path) -> set[Path | None]:
    """All places of files that the tables name."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT artifact_location FROM experiments UNION SELECT artifact_uri FROM runs"
            " UNION SELECT source FROM model_versions"
        ).fetchall()
    return {local_path(row[0]) for row in rows}


def test_tables_and_files_follow_a_workspace_that_was_moved(
    study: MirrorStudy, tmp_path: Path
) -> None:
    shutil.move(tmp_path / "one", tmp_path / "two")
    moved = there(study, tmp_path / "two")
    moved.run(3)
    said = synced(moved)
    assert len(said) == 1 and f"corrected to {tmp_path}/two/mlruns" in said[0]
    assert str(tmp_path / "one" / "mlruns") in said[0]
    assert not (tmp_path / "one").exists()
    assert_all_there_once(moved, moved.client())
    assert synced(moved) == []
    assert all(
        place and place.is_relative_to(tmp_path / "two") for place in places(database(moved))
    )


def test_copy_leaves_the_original_alone(study: MirrorStudy, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    before = sorted(path for path in (tmp_path / "one" / "mlruns").rglob("*"))
    copied = there(study, tmp_path / "two")
    copied.run(3)
    synced(copied)
    assert sorted(path for path in (tmp_path / "one" / "mlruns").rglob("*")) == before
    assert_all_there_once(copied, copied.client())
    assert synced(study) == []
    assert_all_there_once(study, study.client())


def test_files_that_stayed_behind_are_sent_again(study: MirrorStudy, tmp_path: Path) -> None:
    """Only the study's folder and mlflow.db were taken along, or mlruns/ was deleted."""
    (tmp_path / "two").mkdir()
    shutil.copytree(tmp_path / "one" / "studies", tmp_path / "two" / "studies")
    shutil.copyfile(database(study), tmp_path / "two" / "mlflow.db")
    moved = there(study, tmp_path / "two")
    synced(moved)
    assert_all_there_once(moved, moved.client())
    shutil.rmtree(moved.workspace.mlruns)
    synced(moved)
    assert_all_there_once(moved, moved.client())


def test_old_place_that_cannot_be_made_is_no_obstacle(study: MirrorStudy, tmp_path: Path) -> None:
    shutil.move(tmp_path / "one", tmp_path / "two")
    (tmp_path / "one").write_text("a file", encoding="utf-8")
    moved = there(study, tmp_path / "two")
    moved.run(3)
    assert moved.mirror().finish() == ""
    assert_all_there_once(moved, moved.client())


def test_users_own_experiments_and_models_follow_too(study: MirrorStudy, tmp_path: Path) -> None:
    client = study.client()
    own = client.create_experiment("own", f"{study.workspace.mlruns.as_uri()}/own")
    run = client.create_run(own)
    far = client.create_experiment("far", "s3://bucket/far")
    client.create_registered_model("m")
    client.create_model_version("m", f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    shutil.move(tmp_path / "one", tmp_path / "two")
    moved = there(study, tmp_path / "two")
    open_client(moved.tracker(), lambda _: None)
    client, mlruns = moved.client(), moved.workspace.mlruns
    assert local_path(client.get_run(run.info.run_id).info.artifact_uri) == (
        mlruns / "own" / run.info.run_id / "artifacts"
    )
    assert client.get_experiment(far).artifact_location == "s3://bucket/far"
    source = client.get_model_version("m", "1").source
    assert local_path(source) == mlruns / "own" / run.info.run_id / "artifacts" / "model"


def test_database_elsewhere_lets_one_study_follow(study: MirrorStudy, tmp_path: Path) -> None:
    """In a file that several workspaces use only the study itself follows."""
    uri = f"sqlite:///{tmp_path}/shared.db"
    synced(study, uri)
    client = open_client(study.tracker(uri), lambda _: None)
    other = client.create_experiment("other", f"{study.workspace.mlruns.as_uri()}/other")
    shutil.move(tmp_path / "one", tmp_path / "two")
    moved = there(study, tmp_path / "two")
    said = synced(moved, uri)
    assert len(said) == 1 and f"corrected to {tmp_path}/two/mlruns/{STUDY_ID}" in said[0]
    assert not (tmp_path / "one").exists()
    assert_all_there_once(moved, client)
    kept = client.get_experiment(other).artifact_location
    assert local_path(kept) == tmp_path / "one" / "mlruns" / "other"


def test_database_on_a_server_is_left_alone_and_the_difference_is_said(
    study: MirrorStudy, tmp_path: Path
) -> None:
    """A file stands for the server; what tells them apart is that no file is known."""
    uri = f"sqlite:///{tmp_path}/shared.db"
    synced(study, uri)
    shutil.move(tmp_path / "one", tmp_path / "two")
    moved = there(study, tmp_path / "two")
    said: list[str] = []
    client = open_client(replace(moved.tracker(uri), file=None), said.append)
    old, new = (tmp_path / name / "mlruns" / STUDY_ID for name in ("one", "two"))
    assert len(said) == 1 and f"stores the files of this study in {old}" in said[0]
    assert f"ln -s {new} {old}" in said[0]
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None and local_path(experiment.artifact_location) == old


def test_place_that_the_user_chose_stays(study: MirrorStudy, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/shared.db"
    client = open_client(study.tracker(uri), lambda _: None)
    client.create_experiment("mine", (tmp_path / "chosen").as_uri())
    sync_study(study.tracker(uri, "mine"), study.paths, study.definition.config)
    assert synced(study, uri) == []
    assert_all_there_once(study, client)
    assert (tmp_path / "chosen").is_dir()


def test_new_database_keeps_nothing_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    study = new_study(tmp_path / "one")
    study.run(1)
    assert synced(study) == []
    assert all(
        place and place.is_relative_to(tmp_path / "one" / "mlruns")
        for place in places(database(study))
    )


def database(study: MirrorStudy) -> Path:
    return study.workspace.mlflow_db
