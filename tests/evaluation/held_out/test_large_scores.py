"""Large images are scored by window, with the numbers of images that are decoded entirely."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.config.study import TrialConfig
from harness.core.errors import DataError
from harness.data.files import large_image, object_labels, tiff
from harness.data.files.source import FolderSource, hash_files
from harness.data.splits.split_file import SplitRow
from harness.evaluation.decision.choose_rule import choose_rule
from harness.evaluation.held_out.images import EvaluationImages
from harness.evaluation.held_out.measure import ImageEvaluator
from harness.evaluation.held_out.scores import StretchedCounts, mean_over_thresholds
from harness.models.build import build_network
from harness.models.serialization import save_network
from harness.training.metrics.native_size import NativePredictor
from tests.deploy.made_study import NETWORK
from tests.deploy.predict.test_run import Lines

SIZE = (120, 100)
TASKS = {
    "binary": StudyDataConfig(),
    "multiclass": StudyDataConfig(
        task="multiclass",
        classes=("ground", "disc", "bar"),
        values={0: "ground", 1: "disc", 2: "bar"},
        ignore_index=255,
    ),
    "multilabel": StudyDataConfig(task="multilabel", classes=("disc", "bar")),
}


def blobs(seed: int, share: float) -> NDArray[np.bool_]:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random(SIZE), (0, 0), 3)
    return noise > np.quantile(noise, 1 - share)


def write_images(root: Path, data: StudyDataConfig, n: int) -> list[SplitRow]:
    rows = []
    for k in range(n):
        coarse = np.random.default_rng(k).integers(0, 256, (12, 10, 3), dtype=np.uint8)
        image = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        storage: dict[str, Any] = {"tile": (32, 32)} if k % 2 else {"rowsperstrip": 5}
        tifffile.imwrite(root / f"i{k}.tif", image, compression="lzw", **storage)
        disc, bar = blobs(10 + k, 0.3), blobs(20 + k, 0.2)
        planes = [255 * disc.astype(np.uint8)]
        if data.task == "multilabel":
            planes.append(255 * bar.astype(np.uint8))
        elif data.task == "multiclass":
            mask = np.where(bar, 2, disc.astype(np.uint8)).astype(np.uint8)
            mask[:9] = IGNORE_INDEX
            planes = [mask]
        masks = [f"m{k}{position}.tif" for position in range(len(planes))]
        for name, plane in zip(masks, planes, strict=True):
            tifffile.imwrite(root / name, plane, compression="lzw", **storage)
        source = FolderSource(root)
        hashes = hash_files(source, [f"i{k}.tif"]), hash_files(source, masks)
        rows.append(SplitRow(k, f"i{k}.tif", "|".join(masks), "test", str(k), *hashes))
    return rows


def predictors(root: Path, data: StudyDataConfig, *tiles: int | None) -> list[NativePredictor]:
    networks = []
    for seed, tile in enumerate(tiles):
        config = TrialConfig.from_flat({**NETWORK, "data.tile.size": tile})
        torch.manual_seed(seed)
        network = build_network(config.model, classes=data.n_outputs, in_channels=3)
        save_network(network.eval(), root / f"net{seed}")
        networks.append(NativePredictor(root / f"net{seed}", config, data, torch.device("cpu")))
    return networks


@pytest.fixture
def whole_reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Sizes of pictures that were decoded entirely."""
    found: list[tuple[int, int]] = []
    read = tiff.TiffReader.read

    def noted(self: tiff.TiffReader, top: int, left: int, height: int, width: int) -> Any:
        if (height, width) == SIZE:
            found.append(SIZE)
        return read(self, top, left, height, width)

    monkeypatch.setattr(tiff.TiffReader, "read", noted)
    return found


def read_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture of these tests counts as large."""
    monkeypatch.setattr(large_image, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr(large_image, "BAND_ROWS", 48)
    monkeypatch.setattr(object_labels, "BAND_PIXELS", 3000)


def cleaning_rule(data: StudyDataConfig) -> DecisionRule:
    threshold = None if data.task == "multiclass" else 0.48
    entries = [
        ClassDecision(
            threshold=threshold,
            min_size=30,
            fill_holes=data.task != "multiclass",
            largest_only=index == data.scored_classes[-1],
        )
        for index in data.scored_classes
    ]
    return DecisionRule(task=data.task, classes=tuple(entries))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cleans", [False, True])
def test_scores_are_those_of_images_in_memory(
    task: str,
    cleans: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole_reads: list[tuple[int, int]],
) -> None:
    data = TASKS[task]
    images = EvaluationImages("test", tmp_path, tuple(write_images(tmp_path, data, 2)), data, 1e6)
    rule = cleaning_rule(data) if cleans else None
    networks = predictors(tmp_path, data, 32, 64)
    evaluator = ImageEvaluator(networks, data, tta=False, progress=Lines())
    whole = evaluator.score_images(images, rule)
    pictures = evaluator.render_examples(images, whole)
    n_before = len(whole_reads)
    assert n_before >= 4, "the watch sees what is decoded entirely"
    read_in_bands(monkeypatch)
    by_window = evaluator.score_images(images, rule)
    assert set(evaluator.render_examples(images, by_window)) == set(pictures)
    assert len(whole_reads) == n_before, "no picture is decoded entirely"
    assert by_window.row.tolist() == whole.row.tolist()
    for name in ("tp", "fp", "fn", "tn", "sum_py", "sum_p", "sum_y"):
        np.testing.assert_allclose(getattr(by_window, name), getattr(whole, name), rtol=1e-12)
    assert list(by_window.extra_columns) == list(whole.extra_columns)
    for name, values in whole.extra_columns.items():
        # Thresholds of the mean over 256 are moved by 2^-21 at most.
        atol = 1e-4 if name in ("dice_256", "iou_256") else 0
        np.testing.assert_allclose(by_window.extra_columns[name], values, rtol=0, atol=atol)
    assert ("tp_cleaned" in whole.extra_columns) == cleans


@pytest.mark.parametrize("task", TASKS)
def test_rule_is_that_of_images_in_memory(
    task: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole_reads: list[tuple[int, int]],
) -> None:
    data = TASKS[task]
    images = EvaluationImages("val", tmp_path, tuple(write_images(tmp_path, data, 2)), data, 1e6)
    networks = predictors(tmp_path, data, 32)
    evaluator = ImageEvaluator(networks, data, tta=True, progress=Lines())
    whole = choose_rule(evaluator, [((0,), images)], data)
    read_in_bands(monkeypatch)
    whole_reads.clear()
    assert choose_rule(evaluator, [((0,), images)], data) == whole
    assert whole_reads == []


def test_network_of_whole_images_refuses_what_memory_may_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TASKS["binary"]
    rows = tuple(write_images(tmp_path, data, 1))
    monkeypatch.setattr(large_image, "WHOLE_PIXELS", 1000)
    images = EvaluationImages("test", tmp_path, rows, data, 9_000)
    evaluator = ImageEvaluator(
        predictors(tmp_path, data, 32, None), data, tta=False, progress=Lines()
    )
    with pytest.raises(DataError, match=r"100x120 is more than 9,000 pixels, .* whole images"):
        evaluator.score_images(images, None)


def test_large_image_that_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TASKS["binary"]
    rows = tuple(write_images(tmp_path, data, 2))
    (tmp_path / "i0.tif").write_bytes((tmp_path / "i1.tif").read_bytes())
    monkeypatch.setattr(large_image, "WHOLE_PIXELS", 1000)
    images = EvaluationImages("test", tmp_path, rows, data, 1e6)
    with pytest.raises(DataError, match=r"i0\.tif: image or mask has changed"):
        list(images.batches(2))


def test_mean_over_thresholds_from_a_histogram() -> None:
    rng = np.random.default_rng(0)
    for low, high in ((0.0, 1.0), (0.2, 0.7), (0.31, 0.31)):
        p = rng.uniform(low, high, 5000).astype(np.float32)
        y = rng.random(5000) < p
        counts = StretchedCounts()
        for part in np.split(np.arange(5000), [7, 7, 3000]):
            counts.add(p[part], y[part])
        assert counts.means() == pytest.approx(mean_over_thresholds(p, y), abs=1e-5)
    assert np.isnan(StretchedCounts().means()).all()
