"""Bundles of networks that were trained on tiles."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.config.progress import LineProgress
from harness.data.windows.tiles import TileGeometry
from harness.data.windows.window import DecodedImages
from harness.deploy.export.bundle import export_bundle
from harness.deploy.predictor import Predictor
from harness.deploy.runner import image_files
from harness.deploy.runner.predict import Model
from harness.training.metrics.sliding_window import iterate_logits
from tests.deploy.networks import NetworkStudy

SHAPES = [(100, 75), (32, 32), (20, 90), (33, 32), (17, 23)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "geometry",
    [TileGeometry(32, 32, 0.5), TileGeometry(32, 32, 0.0), TileGeometry(32, 45, 0.25)],
    ids=["half", "none", "scaled"],
)
def test_windows_of_the_runner_are_those_of_the_study(
    shape: tuple[int, int], geometry: TileGeometry
) -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 5, padding=2), nn.Tanh(), nn.Conv2d(4, 2, 5, padding=2)
    network = nn.Sequential(*layers).eval()
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)

    def forward(images: Any, _: Any) -> torch.Tensor:
        with torch.no_grad():
            out: torch.Tensor = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
        return out

    def run(fitted: Any, rows: int, columns: int) -> Any:
        return forward(fitted[None], None)[0, :, :rows, :columns].numpy()

    bands = iterate_logits(DecodedImages([image], []), 0, geometry, forward, 4)
    own = np.concatenate([band[0].numpy() for _, band in bands], axis=1)
    spec = {
        "height": 32,
        "width": 32,
        "fit": "stretch",
        "tile": {"side": geometry.side, "overlap": geometry.overlap},
    }
    theirs = image_files.image_logits(image, spec, run)
    assert theirs.shape == own.shape == (2, *shape)
    np.testing.assert_allclose(theirs, own, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [{}, {"data.tile.scale": 0.6, "data.normalize": "per_image"}],
    ids=["plain", "per image"],
)
def test_bundle_and_study_agree_on_images_larger_than_a_tile(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    params = {"model.arch": "Unet", "model.encoder_depth": 3, "data.tile.size": 32, **settings}
    study = NetworkStudy(tmp_path, task="binary", bits=8, params=params)
    bundle = export_bundle(
        study.deployment, tmp_path / "bundle", parity_images=2, progress=LineProgress()
    )
    assert bundle.parity.passed
    tile = json.loads((bundle.folder / "model.json").read_text())["input"]["tile"]
    assert tile == {"side": round(32 / settings.get("data.tile.scale", 1)), "overlap": 0.5}
    for shape in ((100, 75), (20, 90)):
        image = study.image(shape, seed=7)
        (own,) = Predictor(study.deployment).predict([image])
        mask, p = Model(bundle.folder).predict(image)
        assert (mask == own.mask).mean() >= 0.9999
        assert np.abs(p - own.probabilities).max() < 1e-3
