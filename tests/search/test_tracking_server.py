"""The mirror and `harness sync` against a real MLflow server that is killed and restarted."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from tests.conftest import harness_command
from tests.search.mirroring import MirrorStudy, Server, assert_all_there_once, new_study, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CANARY = "c4n4ry-p4ssw0rd"
# The mirror pauses for up to a minute between two tries, and a server may take as long to start.
PATIENCE_S = 200
# `harness` that says when the first picture has arrived, and then goes no further.
STOPS = """
import sys, threading
from harness.cli.app import main
import mlflow

log_artifact = mlflow.MlflowClient.log_artifact

def stops(client, run_id, path, folder=None):
    log_artifact(client, run_id, path, folder)
    if folder == "images":
        print("arrived", flush=True)
        threading.Event().wait()

mlflow.MlflowClient.log_artifact = stops
main(sys.argv[1:])
"""


@pytest.fixture
def study(workspace: Path) -> MirrorStudy:
    return new_study(workspace)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server") / "files") as one:
        yield one


def test_server_dead_at_the_start_killed_in_the_middle_and_restarted(
    study: MirrorStudy, server: Server
) -> None:
    caught_up, failed = threading.Event(), threading.Event()

    def tell(text: str) -> None:
        (caught_up if text == "MLflow has caught up" else failed).set()

    mirror = study.mirror(server.uri, log=tell, pause_s=0.1)
    study.run(1, mirror)
    assert failed.wait(PATIENCE_S)
    server.start()
    assert caught_up.wait(PATIENCE_S)
    server.kill()
    failed.clear()
    caught_up.clear()
    study.run(3, mirror)
    assert failed.wait(PATIENCE_S)
    server.start()
    assert caught_up.wait(PATIENCE_S)
    assert mirror.finish() == ""
    assert_all_there_once(study, mlflow.MlflowClient(server.uri))
    assert not study.workspace.mlflow_db.exists()
    location = mlflow.MlflowClient(server.uri).get_experiment_by_name("s").artifact_location
    assert location.startswith("mlflow-artifacts:"), "the server keeps the artifacts"
    killed_and_sent_again(study, server)


def killed_and_sent_again(study: MirrorStudy, server: Server) -> None:
    """SIGKILL `harness sync` when a picture of its has arrived; then send everything twice."""
    client = mlflow.MlflowClient(server.uri)
    old = client.get_experiment_by_name("s")
    client.rename_experiment(old.experiment_id, "old")
    client.set_experiment_tag(old.experiment_id, "harness.study_id", "old")
    words = ["sync", "--study", "s", "--tracking-uri", server.uri]
    command = [sys.executable, "-c", STOPS, *words]
    root = study.workspace.root
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "arrived\n"
        process.kill()
    assert process.wait() == -9
    for _ in range(2):
        done = harness_command(study.workspace.root, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "MLflow now holds all of the folder of s: 3 trials\n"
        assert_all_there_once(study, client)


def test_dead_server_is_one_line_and_exit_1(study: MirrorStudy) -> None:
    study.run(1)
    words = ["sync", "--study", "s", "--tracking-uri", "http://127.0.0.1:9"]
    done = harness_command(study.workspace.root, *words)
    assert done.returncode == 1
    assert done.stderr.startswith("error: MLflow at http://127.0.0.1:9: ")
    assert done.stderr.count("\n") == 1


def test_server_that_wants_a_password(study: MirrorStudy, tmp_path: Path) -> None:
    pytest.importorskip("flask_wtf", reason="MLflow's basic-auth app needs flask-wtf")
    study.run(2)
    folder = tmp_path / "auth"
    env = {
        "MLFLOW_AUTH_ADMIN_PASSWORD": CANARY,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key for this test",
    }
    with serving(folder, "--app-name", "basic-auth", **env) as server:
        server.start()
        words = ["sync", "--study", "s", "--tracking-uri", server.uri]
        refused = harness_command(study.workspace.root, *words)
        assert refused.returncode == 2
        assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in refused.stderr
        login = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": CANARY}
        wrong = harness_command(
            study.workspace.root, *words, **{**login, "MLFLOW_TRACKING_USERNAME": "eve"}
        )
        assert wrong.returncode == 2
        done = harness_command(study.workspace.root, *words, **login)
        assert done.returncode == 0, done.stderr
        with pytest.MonkeyPatch.context() as patch:
            for name, value in login.items():
                patch.setenv(name, value)
            assert_all_there_once(study, mlflow.MlflowClient(server.uri))
    written = [path.read_bytes() for path in study.workspace.root.rglob("*") if path.is_file()]
    said = [text.encode() for run in (refused, wrong, done) for text in (run.stdout, run.stderr)]
    assert len(written) > 8
    assert not any(CANARY.encode() in text for text in written + said)
