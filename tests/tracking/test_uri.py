from pathlib import Path

import pytest

from harness.core.errors import ConfigError
from harness.core.paths import Workspace
from harness.tracking.uri import TrackingStore, redact_secrets, resolve_tracking_store

CANARY = "c4n4ry-p4ssw0rd"


def found(uri: str | None = None) -> TrackingStore:
    workspace = Workspace(Path("/w"))
    return resolve_tracking_store(workspace, workspace.study("s"), "1f", uri=uri)


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_by_default_it_is_the_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    own = found()
    assert own.uri == "sqlite:////w/mlflow.db" and own.database == Path("/w/mlflow.db")
    assert own.artifacts == "file:///w/mlruns/1f" and own.option == ""
    assert found("sqlite:////w/mlflow.db") == own
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " ")
    assert found() == own


def test_option_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://variable")
    assert found().uri == "https://variable"
    asked = found("http://option:5000")
    assert asked.uri == "http://option:5000"
    assert asked.artifacts is None, "a server keeps artifacts where it wants"
    assert asked.database is None
    assert asked.option == " --tracking-uri http://option:5000"


def test_file_of_sqlite_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert found("sqlite:///other.db").uri == f"sqlite:///{tmp_path}/other.db"


@pytest.mark.parametrize(
    "uri",
    [
        f"https://me:{CANARY}@host/mlflow",
        f"https://{CANARY}@host",
        f"http://me:{CANARY}/x@host",
        f"postgresql+psycopg://me:{CANARY}@host/db",
        f"postgresql://me:{CANARY}@x@host/db",
        f"postgresql://host/db?user=me&password={CANARY}",
        f"mysql://host/db?passwd={CANARY}",
        f"https://host?access_token={CANARY}",
    ],
)
@pytest.mark.parametrize("way", ["option", "variable"])
def test_password_in_an_address_is_refused_and_not_repeated(
    uri: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "variable":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ConfigError, match="set MLFLOW_TRACKING_USERNAME and") as error:
        found(uri if way == "option" else None)
    assert CANARY not in str(error.value)


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "file:///w/mlruns", ""])
def test_folder_is_no_address(uri: str) -> None:
    with pytest.raises(ConfigError, match="use http://HOST:PORT, or sqlite:///FILE"):
        found(uri)


@pytest.mark.parametrize("uri", ["databricks", "databricks://profile", "postgresql://me@host/db"])
def test_addresses_without_secrets_stay_as_they_are(uri: str) -> None:
    assert found(uri).uri == uri


def test_secrets_are_taken_out_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", CANARY)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0k3n")
    text = redact_secrets(
        f"401 for me:{CANARY}, t0k3n, at http://u:p@host/x and http://host:5000/y"
    )
    assert text == "401 for me:***, ***, at http://***@host/x and http://host:5000/y"
