"""Bundles of all architectures, tasks, bit depths, fits and normalisations.

Every pair of levels occurs in 42 exports; HARNESS_ALL_EXPORTS=1 runs the full product of 336.
"""

import itertools
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.config.catalogue import NETWORKS, TASKS
from harness.config.progress import LineProgress
from harness.deploy.export.bundle import export_bundle
from harness.deploy.predictor import Predictor
from tests.deploy.networks import SIZES, NetworkStudy

Level = tuple[str, str, int, str, str]
BITS, FITS, NORMALIZE = (8, 16), ("stretch", "pad"), ("imagenet", "per_image")
PRODUCT: list[Level] = list(itertools.product(NETWORKS, TASKS, BITS, FITS, NORMALIZE))
PAIRS: list[Level] = [
    (arch, task, BITS[(i + j) % 2], FITS[(i // 2 + j) % 2], NORMALIZE[(i // 4 + j) % 2])
    for i, arch in enumerate(NETWORKS)
    for j, task in enumerate(TASKS)
]
EXPORTED = PRODUCT if os.environ.get("HARNESS_ALL_EXPORTS") else PAIRS
# DPT takes vision transformers alone; PAN pools features to an eighth, so 64 px are too few.
NEEDS: dict[str, dict[str, Any]] = {
    "DPT": {"model.encoder_name": "tu-vit_tiny_patch16_224", "model.encoder_depth": 4},
    "PAN": {"data.image_size": 128},
}


def test_every_pair_of_levels_is_exported() -> None:
    for a, b in itertools.combinations(range(5), 2):
        assert {(level[a], level[b]) for level in PAIRS} == {
            (level[a], level[b]) for level in PRODUCT
        }


def build_study(root: Path, level: Level) -> NetworkStudy:
    arch, task, bits, fit, normalize = level
    params = {"model.arch": arch, "data.fit": fit, "data.normalize": normalize}
    return NetworkStudy(root, task=task, bits=bits, params=params | NEEDS.get(arch, {}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory, any_bundle: Path) -> Path | None:
    """A fresh virtual environment with what `requirements.txt` of a bundle names; None offline."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    requirements = str(any_bundle / "requirements.txt")
    command = [str(python), "-m", "pip", "install", "--quiet", "-r", requirements]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if process.returncode else python


@pytest.mark.slow
def test_bare_environment_has_neither_torch_nor_this_package(bare_python: Path | None) -> None:
    if bare_python is None:
        pytest.skip("pip cannot install the requirements of a bundle")
    listed = subprocess.run(
        [str(bare_python), "-m", "pip", "list"], capture_output=True, text=True, check=True
    ).stdout
    assert "onnxruntime" in listed
    assert "torch" not in listed
    assert "harness" not in listed


def read_mask(folder: Path, row: int, study: NetworkStudy) -> NDArray[np.uint8]:
    """Mask of one image as `Prediction.mask` holds it, from what the runner wrote."""
    labels = [f"-{label}" for label in study.data.classes] if study.task == "multilabel" else [""]
    names = [f"{row}{label}" for label in labels]
    planes = [cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_UNCHANGED) for name in names]
    mask = np.stack([np.asarray(plane, np.uint8) for plane in planes], axis=2)
    if study.task == "multiclass":
        return mask[..., 0]
    assert set(np.unique(mask)) <= {0, 255}
    return mask // 255 if study.task == "multilabel" else mask[..., 0] // 255


@pytest.mark.slow
@pytest.mark.parametrize("level", EXPORTED, ids=lambda level: "-".join(map(str, level)))
def test_runner_agrees_with_the_study(
    level: Level, tmp_path: Path, bare_python: Path | None
) -> None:
    study = build_study(tmp_path, level)
    bundle = export_bundle(
        study.deployment, tmp_path / "bundle", parity_images=4, progress=LineProgress()
    )
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    images = [study.image(size, seed=11 + row) for row, size in enumerate(SIZES)]
    for row, image in enumerate(images):
        assert cv2.imwrite(str(folder / f"{row}.png"), image[..., ::-1])
    program = [str(bare_python or sys.executable), str(bundle.folder / "predict.py")]
    options = [str(folder), "--out", str(out), "--probabilities"]
    subprocess.run([*program, *options], check=True, cwd=tmp_path)
    equal, total = 0, 0
    for row, own in enumerate(Predictor(study.deployment).predict(images)):
        assert np.abs(np.load(out / f"{row}.npy") - own.probabilities).max() < 1e-3
        mask = read_mask(out, row, study)
        equal, total = equal + int((mask == own.mask).sum()), total + mask.size
    assert equal / total >= 0.9999
    assert bundle.parity.equal_pixels >= 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["torch", "openvino"])
@pytest.mark.parametrize("arch", ["Unet", "PSPNet", "UPerNet", "fcn"])
def test_other_formats_agree(format_name: Any, arch: str, tmp_path: Path) -> None:
    """PSPNet and UPerNet are those that OpenVINO computes differently with free sizes."""
    study = build_study(tmp_path, (arch, "binary", 8, "pad", "per_image"))
    bundle = export_bundle(
        study.deployment,
        tmp_path / "bundle",
        format=format_name,
        parity_images=4,
        progress=LineProgress(),
    )
    spec = json.loads((bundle.folder / "model.json").read_text())
    assert spec["model"]["format"] == format_name
    assert bundle.parity.equal_pixels >= 0.9999
