from pathlib import Path

import pytest

import harness
from harness.core.errors import ConfigError, UserError
from harness.core.paths import Workspace, check_study_name, expand_user_path

ROOT = Path("w")


@pytest.mark.parametrize("name", ["a", "unetpp", "A-1_b.c", "0", "x" * 64])
def test_safe_names_are_taken(name: str) -> None:
    assert check_study_name(name) == name
    assert Workspace(ROOT).study(name).root == ROOT / "studies" / name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-x", "x" * 65, "a b", "é", "a\n", "a\0",
     "<b>", "mine.confirm"],
)  # fmt: skip
def test_unsafe_names_are_refused_with_what_is_safe(name: str) -> None:
    with pytest.raises(ConfigError, match="use 1 to 64 of A-Z a-z 0-9"):
        Workspace(ROOT).study(name)


def test_workspace_is_laid_out_as_mlflow_and_the_manual_expect() -> None:
    workspace = Workspace(ROOT)
    assert [
        path.as_posix()
        for path in (workspace.optuna_db, workspace.mlflow_db, workspace.mlruns, workspace.cache,
                     workspace.search_spaces)
    ] == ["w/optuna.db", "w/mlflow.db", "w/mlruns", "w/data/cache", "w/search_spaces"]  # fmt: skip


def test_trial_folder_is_laid_out_as_the_manual_says() -> None:
    trial = Workspace(ROOT).study("s").trial(7)
    assert trial.number == 7
    assert [
        path.relative_to(ROOT / "studies" / "s").as_posix()
        for path in (trial.trial_json, trial.config_yaml, trial.epochs_jsonl, trial.checkpoint,
                     trial.model, trial.scores_csv, trial.probability(12, 1), trial.overlay(3, 12))
    ] == [
        "trials/0007/trial.json", "trials/0007/config.yaml", "trials/0007/epochs.jsonl",
        "trials/0007/checkpoint", "trials/0007/best/model", "trials/0007/best/scores.csv",
        "trials/0007/best/probabilities/12-1.png", "trials/0007/overlays/3-12.png",
    ]  # fmt: skip


def test_trials_are_listed_by_number_whatever_else_lies_there(tmp_path: Path) -> None:
    study = Workspace(tmp_path).study("s")
    assert study.all_trials() == []
    for name in ("0010", "0002", "12345", "other"):
        (study.trials / name).mkdir(parents=True)
        (study.trials / name / "trial.json").touch()
    assert [trial.number for trial in study.all_trials()] == [2, 10, 12345]


def test_home_folder_is_put_for_the_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert expand_user_path("~/ws") == tmp_path / "home" / "ws"
    assert expand_user_path(Path("~")) == tmp_path / "home"
    assert expand_user_path("a/~/b") == Path("a/~/b")
    assert Workspace.at("~/ws").root == (tmp_path / "home" / "ws").resolve()
    assert Workspace.at("ws/../ws").root == tmp_path.resolve() / "ws"


def test_tilde_of_nobody_is_an_error_unless_a_file_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"~nobody-here/x: ~nobody-here is not the home folder"):
        expand_user_path("~nobody-here/x")
    (tmp_path / "~nobody-here").mkdir()
    (tmp_path / "~nobody-here" / "x").touch()
    assert expand_user_path("~nobody-here/x") == Path("~nobody-here/x")


def test_name_that_differs_in_case_only_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.study("Encoders").root.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"contains Encoders, .*; use Encoders, or another"):
        workspace.study("encoders")
    (tmp_path / "studies" / "encoders").mkdir()  # a disk that tells them apart
    assert workspace.study("encoders").name == "encoders"


def test_api_takes_a_tilde_for_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by the folder that the errors name; nothing is made where there was nothing."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"no study s in {tmp_path}/home/ws/studies"):
        harness.open_study("s", workspace="~/ws")
    taken = tmp_path / "home" / "ws" / "lr-find" / "taken"
    taken.mkdir(parents=True)
    with pytest.raises(UserError, match=rf"{taken} exists already"):
        harness.find_lr(name="taken", workspace="~/ws")
    with pytest.raises(UserError, match=r"none\.yaml: unknown search space"):
        harness.run_study(space="none.yaml", workspace="~/ws")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
