"""What several test files share: a small generated data set, and a fresh workspace around it."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.data.datasets.synthetic import generate_dataset

# Tests never reach for a network, nor do the processes they start.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.pop("MLFLOW_TRACKING_URI", None)

TINY = {
    "parameters": {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}},
    "fixed": {
        "model.arch": "Unet",
        "model.encoder_name": "mobilenet_v2",
        "model.encoder_weights": None,
        "model.encoder_depth": 3,
        "data.image_size": 32,
        "train.epochs": 2,
        "train.batch_size": 8,
    },
}


def pytest_collection_finish() -> None:
    """Exclude imported modules from later collections: torch and mlflow are a million objects."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Undo it before the interpreter ends: extension modules report frozen objects as leaks."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    """Fail a test that leaves another thread count of torch: later values would differ."""
    before = _torch_threads()
    yield
    assert before is None or _torch_threads() == before


def _torch_threads() -> int | None:
    """Torch's thread count, or None before torch is imported."""
    torch = sys.modules.get("torch")
    return None if torch is None else torch.get_num_threads()


@pytest.fixture(scope="session")
def polyps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 generated pairs of 48 px; read-only."""
    return generate_dataset(tmp_path_factory.mktemp("data") / "polyps", count=24, size=48, seed=3)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace, and the current folder."""
    place = tmp_path / "workspace"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.delenv("HARNESS_DATA_DIR", raising=False)
    return place


def harness_command(workspace: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`harness <words>` in its own process, in that workspace."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=workspace,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def in_every_process(folder: Path, code: str) -> dict[str, str]:
    """The environment in which every Python process runs `code` before anything else."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    inherited = [part for part in [os.environ.get("PYTHONPATH")] if part]
    return {"PYTHONPATH": os.pathsep.join([str(folder), *inherited])}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, created once for all tests: that takes more than a second."""
    import mlflow

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
