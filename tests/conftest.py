"""What several test files share: a small generated data set, and a fresh workspace around it."""

import os
from pathlib import Path

import pytest

from harness.data.synthetic import generate

# Tests never reach for a network, nor do the processes they start.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

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


@pytest.fixture(scope="session")
def polyps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 generated pairs of 48 px; read-only."""
    return generate(tmp_path_factory.mktemp("data") / "polyps", count=24, size=48, seed=3)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace, and the current folder."""
    place = tmp_path / "workspace"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.delenv("HARNESS_DATA_DIR", raising=False)
    return place
