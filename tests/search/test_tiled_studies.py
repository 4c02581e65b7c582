"""Studies on tiles as large as the images against studies of whole, padded images."""

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from harness.api import run_study
from harness.core import strict_yaml
from tests.conftest import TINY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SIDE = 48  # px, the longer side of every image
SHAPES = ((48, 48), (48, 36), (30, 48))
# Names, moments and measured costs differ between any two studies of equal trials.
UNEQUAL = {"started", "ended"}
TILE_KEYS = {"data.tile.size", "data.image_size", "data.fit"}
CLASSES = {"task": "multiclass", "classes": ["background", "disc", "square"]}
SETTINGS = {
    "binary": {"data.normalize": "per_image"},
    "multiclass": {
        "loss.bce": 0.0,
        "loss.ce": 1.0,
        "loss.class_weights": "balanced",
        "data.sampling": "classes",
    },
}


def make_images(folder: Path, *, n_classes: int) -> Path:
    """24 images of noise with a disc; every third one has a square as well."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for k in range(24):
        random = np.random.default_rng(k)
        shape = SHAPES[k % len(SHAPES)]
        image = random.integers(0, 90, (*shape, 3), dtype=np.uint8)
        mask = np.zeros(shape, np.uint8)
        centre = int(random.integers(9, shape[1] - 9)), int(random.integers(9, shape[0] - 9))
        cv2.circle(mask, centre, 7, 1, -1)
        if n_classes > 2 and k % 3 == 0:
            mask[2:12, 2:12] = 2
        image[mask == 1] += np.array([60, 120, 150], np.uint8)
        image[mask == 2] += np.array([150, 20, 30], np.uint8)
        stored = mask if n_classes > 2 else 255 * mask
        cv2.imwrite(str(folder / f"images/{k:02d}.png"), image)
        cv2.imwrite(str(folder / f"masks/{k:02d}.png"), stored)
    return folder


def exported_columns(
    workspace: Path, name: str, data: dict[str, Any], fixed: dict[str, Any]
) -> dict[str, list[str]]:
    """Run two trials and return the columns of the study's trials.csv."""
    folder = workspace / "studies" / name
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(strict_yaml.dump_yaml({"data": data}), encoding="utf-8")
    space = TINY | {"fixed": {k: v for k, v in TINY["fixed"].items() if k != "data.image_size"}}
    study = run_study(
        name,
        space=space,
        data=data["root"],
        trials=2,
        fixed=fixed,
        pruner="none",
        seed=5,
        device="cpu",
        workspace=workspace,
    )
    study.report()
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
    return {title: [row[k] for row in rows[1:]] for k, title in enumerate(rows[0])}


@pytest.mark.parametrize("metrics_at", [None, "native"])
@pytest.mark.parametrize("task", SETTINGS)
def test_tiles_that_hold_every_image_give_the_trials_csv_of_padded_images(
    workspace: Path, task: str, metrics_at: str | None
) -> None:
    """Also with metrics at native size, if both studies set it."""
    extra = CLASSES if task == "multiclass" else {}
    root = make_images(workspace / "images", n_classes=3 if extra else 2)
    data = {"root": str(root), "eval_size": 40, "metrics_at": metrics_at, **extra}
    data = {key: value for key, value in data.items() if value is not None}
    padded = {"data.image_size": SIDE, "data.fit": "pad", **SETTINGS[task]}
    whole = exported_columns(workspace, "whole", data, padded)
    tiled = exported_columns(workspace, "tiled", data, {"data.tile.size": SIDE, **SETTINGS[task]})
    compared = [
        title
        for title in whole
        if title not in UNEQUAL | TILE_KEYS and not title.startswith("cost/")
    ]
    assert set(tiled) - TILE_KEYS == set(whole) - TILE_KEYS
    assert {"value", "best/dice", "optim.lr", "seed", "epochs_done"} <= set(compared)
    assert {title: tiled[title] for title in compared} == {t: whole[t] for t in compared}
    assert len(whole["value"]) == 2 and whole["value"][0] != whole["value"][1]
