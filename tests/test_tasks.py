"""Every task through the whole product, on generated images: command, report, numbers."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

import harness
from harness.core import strict_yaml
from harness.core.errors import DataError
from harness.core.paths import StudyPaths, Workspace
from harness.training.metrics.image_scores import read_scores
from tests.conftest import TINY

pytestmark = pytest.mark.slow


def describe(workspace: Path, name: str, **data: object) -> StudyPaths:
    """A study.yaml that says what the values of its data mean."""
    paths = Workspace(workspace).study(name)
    paths.root.mkdir(parents=True)
    paths.study_yaml.write_text(strict_yaml.dump_yaml({"data": data}), encoding="utf-8")
    return paths


def train(name: str, data: Path) -> harness.Study:
    space = {"fixed": {**TINY["fixed"], "train.epochs": 2}}
    return harness.run_study(name, space=space, data=data, trials=1)


def scenes(n: int = 24) -> list[np.ndarray]:
    """Index masks (40, 48) of ground 0, a disc 1 and a bar 2."""
    random = np.random.default_rng(1)
    made = []
    for _ in range(n):
        mask = np.zeros((40, 48), np.uint8)
        cv2.circle(mask, tuple(random.integers(10, 30, 2).tolist()), 8, 1, -1)
        top = int(random.integers(0, 34))
        mask[top : top + 6] = 2
        made.append(mask)
    return made


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def test_multiclass_of_colours_with_pixels_that_do_not_count(workspace: Path) -> None:
    table = np.array([[0, 0, 0], [0, 0, 255], [0, 255, 0], [255, 255, 255]], np.uint8)  # BGR
    for k, mask in enumerate(scenes()):
        mask[:2] = 3
        write(workspace / "street" / "images" / f"{k}.png", table[mask] // 2 + 40)
        write(workspace / "street" / "masks" / f"{k}.png", table[mask])
    values = {"#000000": "ground", "#ff0000": "disc", "#00ff00": "bar", "#ffffff": "ignore"}
    classes = ["ground", "disc", "bar"]
    paths = describe(
        workspace, "street", task="multiclass", classes=classes, values=values, eval_size=40
    )
    study = train("street", workspace / "street")
    best = study.best
    assert best is not None and best.params == {}
    row = study.trials.iloc[0]
    per_class = [row[f"best/dice/{name}"] for name in classes]
    assert row["best/dice"] == pytest.approx(np.nanmean(per_class), abs=1e-12)
    assert 0 <= row["best/miou"] <= 1
    scores = read_scores(paths.trial(0).scores_csv)
    # void: 2 of 40 rows count in no class of any image
    assert set((scores.tp + scores.fp + scores.fn + scores.tn).tolist()) == {40 * 40 - 2 * 40}
    html = study.report().read_text(encoding="utf-8")
    assert all(name in html for name in classes)


def test_multilabel_of_one_folder_per_class(workspace: Path) -> None:
    for k, mask in enumerate(scenes()):
        image = np.dstack([mask * 90, mask * 60, mask * 30]).astype(np.uint8)
        write(workspace / "signs" / "images" / f"{k}.png", image)
        write(workspace / "signs" / "masks" / "disc" / f"{k}.png", 255 * (mask == 1))
        write(workspace / "signs" / "masks" / "any" / f"{k}.png", 255 * (mask > 0))
    describe(workspace, "signs", task="multilabel", classes=["disc", "any"], eval_size=40)
    study = train("signs", workspace / "signs")
    row = study.trials.iloc[0]
    both = [row["best/iou/disc"], row["best/iou/any"]]
    assert row["best/iou"] == pytest.approx(np.mean(both), abs=1e-12)
    assert study.report().exists()


def test_five_channels_of_16_bits(workspace: Path) -> None:
    random = np.random.default_rng(0)
    for k, mask in enumerate(scenes()):
        image = random.integers(0, 9000, (40, 48, 5)).astype(np.uint16)
        image[mask == 1] += 30000
        write(workspace / "five" / "masks" / f"{k}.png", 255 * (mask == 1))
        path = workspace / "five" / "images" / f"{k}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, image, photometric="minisblack", planarconfig="contig")
    describe(workspace, "five", channels=5, range=[0, 65535], eval_size=40)
    study = train("five", workspace / "five")
    assert pd.notna(study.trials.iloc[0]["value"])
    assert study.report().exists()


def test_bad_pairs_stop_a_study_or_are_left_out_when_asked(workspace: Path) -> None:
    for k, mask in enumerate(scenes(12)):
        write(workspace / "bad" / "images" / f"{k}.png", np.dstack([mask * 90] * 3))
        write(workspace / "bad" / "masks" / f"{k}.png", 255 * (mask == 1))
    (workspace / "bad" / "images" / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"3\.png.*\n.*--skip-bad"):
        train("bad", workspace / "bad")
    assert not Workspace(workspace).study("bad").split_csv.exists()
    space = {"fixed": {**TINY["fixed"], "train.epochs": 1}}
    data = workspace / "bad"
    study = harness.run_study("bad", space=space, data=data, trials=1, skip_bad=True)
    names = Workspace(workspace).study("bad").split_csv.read_text(encoding="utf-8")
    assert "images/2.png" in names and "images/3.png" not in names
    assert list(study.trials["state"]) == ["complete"]
