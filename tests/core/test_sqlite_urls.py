"""Addresses of SQLite files whose paths hold what an address gives a meaning to."""

import os
from pathlib import Path

import mlflow
import optuna
import pytest

from harness.core.errors import ConfigError
from harness.core.paths import Workspace
from harness.core.sqlite_urls import mlflow_sqlite_url, parse_sqlite_url, sqlite_url
from harness.search.storage.location import resolve_storage
from harness.search.storage.storage import open_storage
from harness.tracking.client import open_client
from tests.search.fakes import STUDY_ID
from tests.search.mirroring import MirrorStudy, assert_all_there_once, new_study

NAMES = [
    "a%20b",
    "why?",
    "why?timeout=1",
    "a#b",
    "50%",
    "%3F",
    "two words",
    "é ü 漢",
    'it\'s "so"',
    "a;b&c=d",
    "{SCHEMA_VERSION}+",
    "y" * 200,
]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_optuna_keeps_its_database_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    database = tmp_path / name / "optuna.db"
    storage = open_storage(database)
    optuna.create_study(study_name="s", storage=storage)
    again = optuna.load_study(study_name="s", storage=sqlite_url(database))
    assert again.study_name == "s"
    assert names_in(tmp_path) == [name]
    assert "optuna.db" in names_in(tmp_path / name)


@pytest.mark.parametrize("name", ["a%20b?#é'x;b&c=d\" {q}+", "why?timeout=1", "y" * 200])
def test_mlflow_finds_all_of_a_study_in_a_folder_of_any_name(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also through the address that `mlflow ui` takes by default in that folder."""
    study = new_study(tmp_path / name)
    study.run(2)
    assert study.mirror().finish() == ""
    assert names_in(tmp_path) == [name]
    monkeypatch.chdir(study.workspace.root)
    # MLflow keeps one connection for each address, so that every case needs one of its own.
    assert_all_there_once(study, mlflow.MlflowClient(f"sqlite:///mlflow.db?timeout={len(name)}"))
    assert names_in(study.workspace.mlruns) == [STUDY_ID]


@pytest.mark.parametrize("name", NAMES)
def test_address_that_is_printed_names_the_same_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for address in (sqlite_url(folder / "o.db"), mlflow_sqlite_url(folder / "o.db")):
        assert parse_sqlite_url(address) == (folder / "o.db", "")
        assert not set(address) & set(" '\"&;?#"), "it can be pasted into a shell"
    assert parse_sqlite_url(f"sqlite:///{folder}/o.db") == (folder / "o.db", "")
    assert resolve_storage(Workspace(tmp_path), f"sqlite:///{folder}/o.db") == folder / "o.db"


def test_settings_of_an_address_are_no_part_of_the_file(tmp_path: Path) -> None:
    assert parse_sqlite_url(f"sqlite:///{tmp_path}/o.db?timeout=5") == (
        tmp_path / "o.db",
        "?timeout=5",
    )
    with pytest.raises(ConfigError, match=r"--storage .*: a file takes no settings; remove \?time"):
        resolve_storage(Workspace(tmp_path), f"sqlite:///{tmp_path}/o.db?timeout=5")


def test_home_folder_in_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_storage(Workspace(tmp_path), "sqlite:///~/o.db") == tmp_path / "o.db"


def test_path_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the path of a database must be UTF-8; rename"):
        sqlite_url(Path(os.fsdecode(b"/w/\xff/o.db")))


def test_other_file_of_mlflow_is_named_with_its_settings(tmp_path: Path) -> None:
    (tmp_path / "why?").mkdir()
    study = MirrorStudy(Workspace(tmp_path), Workspace(tmp_path).study("s"), None)  # type: ignore[arg-type]
    tracker = study.tracker(f"sqlite:///{tmp_path}/why?/m.db?timeout=7")
    assert tracker.file == tmp_path / "why?" / "m.db" and tracker.database is None
    open_client(tracker, lambda _: None)
    assert tracker.file.exists() and names_in(tmp_path) == ["why?"]
