"""`harness ui`: the server that it starts, on a workspace of any name, moved or not."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Self

import mlflow
import pytest

from harness.cli import ui
from harness.cli.app import main
from harness.core.paths import Workspace
from harness.core.sqlite_urls import parse_sqlite_url
from tests.search.mirroring import new_study


class Server:
    """Stands for `mlflow ui`, and ends at once."""

    commands: ClassVar[list[list[str]]] = []

    def __init__(self, command: list[str], **_: Any) -> None:
        self.commands.append(command)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def wait(self) -> int:
        return 0


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    monkeypatch.setattr(ui.subprocess, "Popen", Server)
    monkeypatch.setattr(Server, "commands", [])
    return Server.commands


def left(*words: str) -> object:
    with pytest.raises(SystemExit) as raised:
        main(["ui", *words])
    return raised.value.code


def test_moved_workspace_is_corrected_before_the_server_starts(
    tmp_path: Path, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    study = new_study(tmp_path / "one")
    study.run(1)
    assert study.mirror().finish() == ""
    moved = Workspace(tmp_path / "two %20?")
    shutil.move(tmp_path / "one", moved.root)
    assert left("--workspace", str(moved.root)) == 0
    assert f"corrected to {moved.mlruns}" in capsys.readouterr().err
    address = commands[0][commands[0].index("--backend-store-uri") + 1]
    assert parse_sqlite_url(address) == (moved.mlflow_db, "")
    client = mlflow.MlflowClient(address)
    run = client.search_runs(["1"], "tags.`harness.trial` = 's/0'")[0]
    assert "config.yaml" in [file.path for file in client.list_artifacts(run.info.run_id)]
    assert left("--workspace", str(moved.root)) == 0
    assert "corrected" not in capsys.readouterr().err


def test_locked_database_is_one_line_and_2(
    tmp_path: Path,
    commands: list[list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.tracking.relocation.BUSY_TIMEOUT_S", 0.02)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as viewer:
        viewer.execute("CREATE TABLE experiments(artifact_location)")
        viewer.execute("BEGIN EXCLUSIVE")
        assert left("--workspace", str(tmp_path)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path}/mlflow.db: has been locked by another program")
    assert said.count("\n") == 1 and commands == []


def test_workspace_without_a_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert left("--workspace", str(tmp_path)) == 2
    assert "no mlflow.db in" in capsys.readouterr().err


def test_address_of_the_sorted_trials_of_each_study(
    tmp_path: Path, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    study = new_study(tmp_path)
    study.run(1)
    assert study.mirror().finish() == ""
    broken = study.workspace.studies / "broken" / "study.yaml"
    broken.parent.mkdir()
    broken.write_text("id: [", encoding="utf-8")
    assert left("--workspace", str(tmp_path), "--port", "5099") == 0
    assert capsys.readouterr().err.splitlines() == [
        "http://127.0.0.1:5099 (stop it with Ctrl-C)",
        "s: http://127.0.0.1:5099/#/experiments/1/runs"
        "?orderByKey=metrics.%60best%2Fdice_loss%60&orderByAsc=true",
    ]
