"""A confirmed study is exported, served by MLflow, and answers with the masks of `predict`."""

import ast
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.typing import NDArray

import harness
from tests.conftest import TINY, harness_command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@contextmanager
def served(workspace: Path, uri: str) -> Iterator[str]:
    """Address of a running `mlflow models serve`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = workspace / "serve.log"
    # MLflow starts `uvicorn` by name: that of this environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    store = f"sqlite:///{workspace / 'mlflow.db'}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=workspace,
            env=os.environ | {"MLFLOW_TRACKING_URI": store, "PATH": path},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 200
        while not answers(port):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def post(address: str, cells: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and answer to one row."""
    body = json.dumps({"dataframe_records": [cells]}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def decode(text: str) -> NDArray[np.uint8]:
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)


def imported(path: Path) -> set[str]:
    """First parts of all modules that a Python file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def assert_no_pickle(mlruns: Path, folder: Path) -> None:
    """No file of the store is a pickle or names one; the champion is code and a bundle."""
    paths = [path for path in mlruns.rglob("*") if path.is_file()]
    assert len(paths) > 20
    for path in paths:
        assert path.suffix not in (".pkl", ".pickle", ".pyc", ".pt", ".pth"), path
        if path.suffix == ".py":
            assert not imported(path) & {"pickle", "cloudpickle", "dill", "joblib", "harness"}, path
        elif path.name != "model.onnx":
            assert b"pickle" not in path.read_bytes().lower(), path
        # protocol 2 and later begin so; zip archives may hold pickles
        assert path.read_bytes()[:2] not in (b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK"), path
    flavors = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]
    assert list(flavors) == ["python_function"]
    assert flavors["python_function"]["loader_module"] == "mlflow.pyfunc.loaders.code_model"
    assert flavors["python_function"]["model_code_path"] == "pyfunc_code.py"


def test_champion_is_served_with_the_masks_of_predict(workspace: Path, polyps: Path) -> None:
    pytest.importorskip("onnxruntime")
    study = harness.run_study("tiny", space=TINY, data=polyps, trials=1, device="cpu")
    study.confirm(top=1, seeds=2, device="cpu")
    exported = harness_command(
        workspace, "export", "--study", "tiny", "--out", "bundle", "--device", "cpu"
    )
    assert exported.returncode == 0, exported.stderr
    line = "MLflow: models:/tiny/2 carries the bundle, also as models:/tiny@champion"
    assert line in exported.stderr.splitlines()
    study.sync()  # leaves the alias on the version with the bundle

    images = sorted((polyps / "images").iterdir())[:4]
    odd = workspace / "odd.png"
    cv2.imwrite(str(odd), np.random.default_rng(0).integers(0, 256, (17, 31, 3), np.uint8))
    done = harness_command(
        workspace, "predict", "--study", "tiny", *map(str, [*images, odd]), "--out", "predicted"
    )
    assert done.returncode == 0, done.stderr

    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    champion = client.get_model_version_by_alias("tiny", "champion")
    assert champion.version == 2
    folder = Path(str(champion.source).removeprefix("file://"))
    assert_no_pickle(workspace / "mlruns", folder)

    with served(workspace, "models:/tiny@champion") as address:
        for path in [*images, odd]:
            expected = cv2.imread(
                str(workspace / "predicted" / "masks" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED
            )
            cells = {"image": base64.b64encode(path.read_bytes()).decode()}
            status, answer = post(address, cells)
            assert status == 200, answer
            (row,) = answer["predictions"]
            assert (decode(row["mask"]) == expected).all(), path
            (share,) = row["shares"].values()
            assert share == pytest.approx(float((expected > 0).mean()))
        status, answer = post(address, {"path": str(odd)})
        assert (status, "column path is refused" in answer["message"]) == (400, True)
        status, answer = post(address, {"image": base64.b64encode(b"<svg/>").decode()})
        assert (status, "row 0: not a JPEG" in answer["message"]) == (400, True)
        status, answer = post(address, {"image": cells["image"][:40]})
        assert status == 400 and "row 0: " in answer["message"]
        assert post(address, cells)[0] == 200, "the server goes on"
    assert_no_pickle(workspace / "mlruns", folder)

    model = mlflow.pyfunc.load_model(str(folder), model_config={"allow_paths": True})
    result = model.predict(pd.DataFrame({"path": [str(odd)]}))
    assert (decode(result["mask"][0]) == expected).all()


def test_mlflow_that_fails_loses_no_bundle(workspace: Path, polyps: Path) -> None:
    pytest.importorskip("onnxruntime")
    study = harness.run_study("tiny", space=TINY, data=polyps, trials=1, device="cpu")
    study.confirm(top=1, seeds=2, device="cpu")
    done = harness_command(
        *(workspace, "export", "--study", "tiny", "--out", "bundle", "--device", "cpu"),
        *("--tracking-uri", "http://127.0.0.1:9"),
    )
    assert done.returncode == 0, done.stderr
    assert "the bundle is not in MLflow: MLflow at http://127.0.0.1:9: " in done.stderr
    assert (workspace / "bundle" / "model.json").is_file()
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    assert client.get_model_version_by_alias("tiny", "champion").version == 1
    # A trial of the search is not the confirmed choice: its bundle is nobody's champion.
    done = harness_command(
        *(workspace, "export", "--study", "tiny", "--trial", "0", "--out", "other"),
        *("--device", "cpu"),
    )
    assert done.returncode == 0, done.stderr
    assert "MLflow" not in done.stderr
    assert client.get_model_version_by_alias("tiny", "champion").version == 1
