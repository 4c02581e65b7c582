"""Mistakes that are found before torch is imported, and studies that have nothing to do."""

import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest

from harness.config import components
from harness.core.errors import ConfigError, DataError, UserError
from harness.core.paths import Workspace
from harness.core.records import read_records
from harness.search.definition import early_checks
from harness.search.definition.early_checks import check_run_early, check_study_early
from harness.search.definition.network_checks import LocalNetworks
from harness.search.definition.options import RunOptions
from harness.search.storage.sqlite_lookup import are_up_to_date
from harness.search.storage.storage import open_storage
from tests.conftest import TINY
from tests.search.fakes import STUDY_ID, Silence
from tests.search.mirroring import MirrorStudy, new_study


class Lines(Silence):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def stage(self, text: str) -> None:
        self.lines.append(text)


def options(workspace: Path, **given: Any) -> RunOptions:
    return RunOptions.from_arguments({"workspace": workspace, "study": "s", **given})


def space(**parameters: list[Any]) -> dict[str, Any]:
    return {"parameters": {key.replace("__", "."): {"choices": v} for key, v in parameters.items()}}


def refused(workspace: Path, **given: Any) -> str:
    with pytest.raises(UserError) as refusal:
        check_run_early(options(workspace, **given), Lines())
    return str(refusal.value)


def test_every_mistake_of_a_space_is_in_one_message(workspace: Path, polyps: Path) -> None:
    wrong = space(model__arch=["Unett"], model__encoder_name=["resnet81"], optim__lrr=[1])
    message = refused(workspace, space=wrong, data=polyps)
    for problem in ("did you mean Unet?", "did you mean resnet", "did you mean optim.lr?"):
        assert problem in message


@pytest.mark.parametrize("name", ["resnet81", "tu-convnxt_tiny", "mobilenet_v2", "tu-resnet18"])
def test_encoders_are_judged_as_by_the_libraries(name: str) -> None:
    names = early_checks.installed_names()
    assert names is not None
    early = early_checks._ListedNames(names)
    assert early.encoder_problem(name) == LocalNetworks().encoder_problem(name)
    assert early.names() == LocalNetworks().names()
    assert not early.is_incomplete


def test_values_that_only_the_libraries_can_check_leave_the_message_to_them(
    workspace: Path, polyps: Path
) -> None:
    """Otherwise it would lack the mistakes that they find."""
    wrong = space(
        model__encoder_name=["tu-convnext_tiny.nothing"], optim__lrr=[1], model__arch=["Unet"]
    )
    assert check_run_early(options(workspace, space=wrong, data=polyps), Lines()) is None


def test_networks_that_the_caller_registered_are_left_to_the_libraries(
    workspace: Path, polyps: Path
) -> None:
    @components.network("mine", origin="a notebook")
    def build(in_channels: int, classes: int) -> None: ...

    try:
        mine = space(model__arch=["mine"])
        assert check_run_early(options(workspace, space=mine, data=polyps), Lines()) is None
    finally:
        components.unregister_origin("a notebook")


def test_missing_data_is_refused_before_a_run(workspace: Path) -> None:
    with pytest.raises(DataError, match="neither a folder nor a dataset"):
        check_run_early(options(workspace, space=TINY, data="nowhere"), Lines())
    assert not (workspace / "data").exists()


def test_generated_data_is_not_generated_by_a_check(workspace: Path) -> None:
    check_run_early(options(workspace, space=TINY, data="synthetic"), Lines())
    assert not (workspace / "data").exists()


def test_missing_data_is_said_before_a_check_builds_networks(workspace: Path) -> None:
    lines = Lines()
    check_study_early(options(workspace, space=TINY, data="nowhere"), lines)
    assert len(lines.lines) == 1
    assert lines.lines[0].startswith("error: --data nowhere: neither a folder")


def test_loss_that_does_not_fit_the_task_is_refused(workspace: Path, polyps: Path) -> None:
    study = workspace / "studies" / "s"
    study.mkdir(parents=True)
    text = f"data: {{root: {polyps}, task: multiclass, classes: [a, b]}}\n"
    (study / "study.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"loss\.bce"):
        check_run_early(options(workspace, space=space(loss__bce=[0.5, 1.0])), Lines())


def test_name_of_another_study_is_refused(workspace: Path, polyps: Path) -> None:
    at = Workspace.at(workspace)
    optuna.create_study(study_name="s", storage=open_storage(at.optuna_db))
    message = refused(workspace, space=TINY, data=polyps)
    assert "contains another study named s" in message and "optuna delete-study" in message


def test_trials_without_a_definition_are_refused(workspace: Path, polyps: Path) -> None:
    trial = workspace / "studies" / "s" / "trials" / "0000"
    trial.mkdir(parents=True)
    (trial / "trial.json").touch()
    assert "holds trials, but no study.yaml" in refused(workspace, space=TINY, data=polyps)


@pytest.fixture
def finished(tmp_path: Path, empty_database: Path) -> MirrorStudy:
    """A study of three trials that Optuna and MLflow hold."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    study = new_study(tmp_path)
    mirror = study.mirror()
    study.run(3, mirror)
    assert mirror.finish() == ""
    return study


def is_complete(study: MirrorStudy) -> bool:
    records = read_records(study.paths)
    return are_up_to_date(study.workspace.optuna_db, study.tracker(), "s", STUDY_ID, records)


def test_finished_study_is_seen_as_complete(finished: MirrorStudy) -> None:
    assert is_complete(finished)


def test_lost_database_is_not_complete(finished: MirrorStudy) -> None:
    finished.workspace.optuna_db.unlink()
    assert not is_complete(finished)


def test_trial_that_mlflow_lacks_is_not_complete(finished: MirrorStudy) -> None:
    client = finished.client()
    run_id = read_records(finished.paths)[1].mlflow_run_id
    assert run_id is not None
    client.delete_run(run_id)
    assert not is_complete(finished)


def test_trial_that_ended_after_its_copy_is_not_complete(finished: MirrorStudy) -> None:
    run_id = read_records(finished.paths)[1].mlflow_run_id
    assert run_id is not None
    finished.client().set_tag(run_id, "harness.copied", "2020-01-01T00:00:00Z")
    assert not is_complete(finished)


def test_moved_workspace_is_not_complete(finished: MirrorStudy, tmp_path: Path) -> None:
    """Its paths in MLflow are corrected by the next run."""
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    shutil.copytree(tmp_path, moved)
    workspace = Workspace(moved)
    assert not is_complete(finished._replace(workspace=workspace, paths=workspace.study("s")))
