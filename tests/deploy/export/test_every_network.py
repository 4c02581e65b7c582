"""Bundles of all architectures, tasks, bit depths, fits and normalisations.

Every pair of levels occurs in 42 exports; HARNESS_ALL_EXPORTS=1 runs the full product of 336.
"""

import itertools
import json
import os
import subprocess
import venv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from harness.config.catalogue import NETWORKS, TASKS
from harness.config.progress import LineProgress
from harness.deploy.export.bundle import export_bundle
from harness.deploy.predictor import Predictor
from harness.deploy.runner.predict import Model
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


@pytest.mark.slow
@pytest.mark.parametrize("level", EXPORTED, ids=lambda level: "-".join(map(str, level)))
def test_runner_agrees_with_the_study(level: Level, tmp_path: Path) -> None:
    study = build_study(tmp_path, level)
    bundle = export_bundle(
        study.deployment, tmp_path / "bundle", parity_images=4, progress=LineProgress()
    )
    model, predictor = Model(bundle.folder), Predictor(study.deployment)
    equal, total = 0, 0
    for size in SIZES:
        image = study.image(size, seed=11)
        (own,) = predictor.predict([image])
        mask, _ = model.predict(image)
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


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory, any_bundle: Path) -> Path:
    """A fresh virtual environment with what `requirements.txt` of a bundle names."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    requirements = str(any_bundle / "requirements.txt")
    command = [str(python), "-m", "pip", "install", "--quiet", "-r", requirements]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        pytest.skip(f"pip cannot install the requirements: {process.stderr[-300:]}")
    return python


@pytest.mark.slow
def test_bundle_runs_in_a_bare_environment(
    exported: tuple[NetworkStudy, Any], bare_python: Path, tmp_path: Path
) -> None:
    study, bundle = exported
    listed = subprocess.run(
        [str(bare_python), "-m", "pip", "list"], capture_output=True, text=True, check=True
    ).stdout
    assert "torch" not in listed
    assert "harness" not in listed
    folder = tmp_path / "images"
    folder.mkdir()
    for index, size in enumerate(SIZES):
        image = study.image(size, seed=20 + index)
        assert cv2.imwrite(str(folder / f"{index}.png"), image[..., ::-1])
    program = str(bundle.folder / "predict.py")
    command = [str(bare_python), program, str(folder), "--out", str(tmp_path / "out")]
    subprocess.run([*command, "--probabilities"], check=True, cwd=tmp_path)
    predictor = Predictor(study.deployment)
    model = Model(bundle.folder)
    equal, total = 0, 0
    for index, size in enumerate(SIZES):
        (own,) = predictor.predict([study.image(size, seed=20 + index)])
        p = np.load(tmp_path / "out" / f"{index}.npy")
        assert np.abs(p - own.probabilities).max() < 1e-3
        mask = model.decide(p)
        equal, total = equal + int((mask == own.mask).sum()), total + mask.size
    assert equal / total >= 0.9999
