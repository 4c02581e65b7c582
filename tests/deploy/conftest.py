"""Three networks that together have every task, both bit depths, both fits; exported once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.config.progress import LineProgress
from harness.deploy.export.bundle import ExportedBundle, export_bundle
from tests.deploy.networks import NetworkStudy

Exported = tuple[NetworkStudy, ExportedBundle]
PARAMS: dict[str, dict[str, Any]] = {
    "binary": {"model.arch": "Unet", "model.encoder_depth": 3},
    "multiclass": {"model.arch": "FPN", "data.fit": "pad"},
    "multilabel": {"model.arch": "Linknet", "data.fit": "pad", "data.normalize": "per_image"},
}


@pytest.fixture(scope="session")
def export_task(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Exported]:
    """Function from a task to a study and the ONNX bundle of its network."""

    @cache
    def export(task: Any) -> Exported:
        root = tmp_path_factory.mktemp(task)
        bits = 16 if task == "multiclass" else 8
        study = NetworkStudy(root, task=task, bits=bits, params=PARAMS[task])
        bundle = export_bundle(
            study.deployment, root / "bundle", parity_images=2, progress=LineProgress()
        )
        return study, bundle

    return export


@pytest.fixture(scope="session", params=["binary", "multiclass", "multilabel"])
def exported(request: pytest.FixtureRequest, export_task: Callable[[Any], Exported]) -> Exported:
    """A study and its bundle; multiclass has 16 bits."""
    return export_task(request.param)


@pytest.fixture(scope="session")
def binary_bundle(export_task: Callable[[Any], Exported]) -> tuple[NetworkStudy, Path]:
    """A binary study and the bundle of its network; copy it before a file is changed."""
    study, bundle = export_task("binary")
    return study, bundle.folder


@pytest.fixture(scope="session")
def any_bundle(binary_bundle: tuple[NetworkStudy, Path]) -> Path:
    """A bundle, not to be changed."""
    return binary_bundle[1]
