"""A name that another study has is refused before anything is written."""

import shutil
from pathlib import Path

import mlflow
import optuna
import pytest
from mlflow.exceptions import MlflowException

import harness
from harness.core import files
from harness.core.errors import TrackingError, UserError
from harness.core.paths import Workspace
from harness.search.definition.definition import study_is_started
from harness.search.definition.write_definition import write_definition
from harness.search.storage.name_check import check_name_is_free
from harness.search.storage.storage import open_storage
from harness.tracking import client
from tests.search.fakes import STUDY_ID, definition_of
from tests.search.mirroring import ROWS, SPACE, MirrorStudy, new_study

WAY_OUT = r"experiment s \(id 1\) was deleted; restore it: .* --experiment-id 1, or choose another"


@pytest.fixture
def study(tmp_path: Path, empty_database: Path) -> MirrorStudy:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return new_study(tmp_path)


def refuse(study: MirrorStudy, experiment: str | None = None) -> None:
    tracker = study.tracker(experiment=experiment)
    check_name_is_free(study.workspace.optuna_db, tracker, "s", STUDY_ID, lambda _: None)


def test_free_name_asks_nothing_of_mlflow(
    study: MirrorStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose import takes seconds."""
    monkeypatch.setattr(client, "check_experiment", None)
    mlflow.MlflowClient(f"sqlite:///{study.workspace.mlflow_db}").create_experiment("other")
    refuse(study)
    study.workspace.mlflow_db.write_bytes(b"damaged: the mirror moves it aside")
    refuse(study)
    study.workspace.mlflow_db.unlink()
    refuse(study)


def test_name_of_another_study_in_the_index(study: MirrorStudy) -> None:
    storage = open_storage(study.workspace.optuna_db)
    optuna.create_study(study_name="s", storage=storage)
    with pytest.raises(UserError, match=r"contains another study named s, .*optuna delete-study"):
        refuse(study)


def test_study_that_was_renamed_in_the_index_is_found_behind_its_name(study: MirrorStudy) -> None:
    """Another one has its old name; its id counts, whichever is listed first."""
    storage = open_storage(study.workspace.optuna_db)
    optuna.create_study(study_name="s", storage=storage)
    optuna.create_study(study_name="t", storage=storage).set_user_attr("harness.study_id", STUDY_ID)
    refuse(study)


def test_name_of_another_experiment(study: MirrorStudy) -> None:
    client = study.client()
    client.create_experiment("s")
    with pytest.raises(UserError, match="has an experiment s of another study or project; choose"):
        refuse(study)
    refuse(study, "another")
    refuse(study, "s")  # the user named it, and it is nobody's
    client.set_experiment_tag("1", "harness.study_id", "f" * 32)
    with pytest.raises(UserError, match="has an experiment s of another study or project; choose"):
        refuse(study, "s")


def test_name_of_a_deleted_experiment(study: MirrorStudy) -> None:
    client = study.client()
    client.delete_experiment(client.create_experiment("s"))
    with pytest.raises(UserError, match=WAY_OUT):
        refuse(study)
    with pytest.raises(UserError, match=WAY_OUT):
        refuse(study, "s")


def test_own_experiment_that_was_deleted_or_renamed(study: MirrorStudy) -> None:
    client = study.client()
    client.create_experiment("s", tags={"harness.study_id": STUDY_ID})
    refuse(study)
    client.delete_experiment("1")
    with pytest.raises(UserError, match=WAY_OUT):
        refuse(study)


def test_mlflow_that_does_not_answer_refuses_nothing(
    study: MirrorStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*_: object, **__: object) -> None:
        raise MlflowException("connection refused")

    monkeypatch.setattr(mlflow.MlflowClient, "search_experiments", dead)
    with pytest.raises(TrackingError, match="connection refused"):
        client.check_experiment(study.tracker("http://h:1"), STUDY_ID, lambda _: None)
    tracker = study.tracker("http://h:1")
    check_name_is_free(study.workspace.optuna_db, tracker, "s", STUDY_ID, lambda _: None)


def test_run_leaves_no_folder_for_a_name_that_is_taken(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "optuna.db")
    optuna.create_study(study_name="s", storage=storage)
    space = {"fixed": {"model.arch": "Linknet", "model.encoder_name": "mobilenet_v2",
                       "model.encoder_weights": None, "data.image_size": 32}}  # fmt: skip
    with pytest.raises(UserError, match="contains another study named s"):
        harness.run_study("s", space=space, data="synthetic", workspace=tmp_path)
    assert not (tmp_path / "studies" / "s").exists()


@pytest.mark.parametrize("lost", ["study.yaml", "space.yaml"])
def test_trials_without_their_definition_are_not_taken_for_those_of_a_new_study(
    study: MirrorStudy, lost: str
) -> None:
    study.run(2)
    (study.paths.root / lost).unlink()
    before = sorted(study.paths.root.rglob("*"))
    with pytest.raises(UserError, match=r"holds trials, but no study\.yaml .*: put these back"):
        harness.run_study("s", space=SPACE, data="synthetic", workspace=study.workspace.root)
    assert sorted(study.paths.root.rglob("*")) == before


@pytest.mark.parametrize("failing", ["split.csv", "space.yaml", "study.yaml"])
def test_definition_is_written_whole_or_not_at_all(
    tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that the user had created stay."""
    paths = Workspace(tmp_path).study("s")
    steps = tmp_path / "mine.yaml"
    steps.write_text("transform: {}\n", encoding="utf-8")
    paths.root.mkdir(parents=True)
    (paths.root / "notes.txt").write_text("mine", encoding="utf-8")
    definition = definition_of(SPACE)
    write_bytes = files.write_bytes

    def fails(path: Path, data: bytes) -> None:
        if path.name == failing:
            raise OSError(28, "No space left on device", str(path))
        write_bytes(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", fails)
        with pytest.raises(OSError, match="No space left"):
            write_definition(paths, definition, ROWS, [steps])
    assert [path.name for path in paths.root.iterdir()] == ["notes.txt"]
    assert not study_is_started(paths)
    write_definition(paths, definition, ROWS, [steps])
    assert study_is_started(paths)
