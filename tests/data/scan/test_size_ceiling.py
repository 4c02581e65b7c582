"""Ceilings of training sizes: against a slow version, by hand, and never above what is possible."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.data.files import large_image
from harness.data.files.resize import content_box, fit_mask
from harness.data.files.source import FolderSource
from harness.data.scan import size_ceiling
from harness.data.scan.size_ceiling import (
    SEED,
    CeilingTable,
    measure_ceilings,
    measure_file_ceilings,
    read_ceilings,
    write_ceilings,
)
from harness.data.windows.window import DecodedImages
from harness.training.metrics.validation import probabilities_from_logits

BINARY = StudyDataConfig()
CLASSES = StudyDataConfig(
    task="multiclass", classes=("background", "red", "green"), ignore_index=255
)
LABELS = StudyDataConfig(task="multilabel", classes=("a", "b"))


def specks(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Discs of 3 to 9 pixels on a mask of 0 and 1."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(height * width // 400):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(mask, centre, int(rng.integers(1, 5)), 1, -1)
    return mask


def measure(
    masks: list[NDArray[np.uint8]],
    sizes: list[size_ceiling.TrainingSize],
    data: StudyDataConfig,
) -> CeilingTable:
    source = DecodedImages([np.zeros((*mask.shape[:2], 3), np.uint8) for mask in masks], masks)
    return measure_ceilings(
        range(len(masks)), lambda row: source.shape(row)[:2], source.read_mask, sizes, data
    )


def network_dice(
    mask: NDArray[np.uint8], size: size_ceiling.TrainingSize, data: StudyDataConfig
) -> float:
    """Dice of logits that agree with the training mask, by the code that evaluates networks.

    Sizes are odd, so that no pixel lies halfway between two others: rounding would decide there.
    """
    (height, width), fit = size
    small = fit_mask(mask, *size, nearest=data.uses_nearest_resize, padding=IGNORE_INDEX)
    if data.task == "multilabel":
        planes = np.moveaxis(small, 2, 0) == 1
    elif data.task == "binary":
        planes = (small == 1)[None]
    else:
        planes = np.stack([small == k for k in range(len(data.classes))])
    logits = torch.from_numpy(np.where(planes, 20.0, -20.0).astype(np.float32))
    logits[:, torch.from_numpy((small if small.ndim == 2 else small[..., 0]) == IGNORE_INDEX)] = 0
    native = (mask.shape[0], mask.shape[1])
    box = np.array([content_box(native, (height, width), fit)])
    p = probabilities_from_logits(logits[None], box, native, data.task)[0].numpy()
    values = []
    counted = np.ones(native, bool) if mask.ndim == 3 else mask != IGNORE_INDEX
    for index in data.scored_classes:
        truth = (mask[..., index] == 1 if mask.ndim == 3 else mask == index) & counted
        if data.task == "multiclass":
            decided = (p.argmax(axis=0) == index) & counted
        else:
            decided = ((p if data.task == "binary" else p[index]) >= 0.5) & counted
        if truth.any():
            values.append(2 * (truth & decided).sum() / (truth.sum() + decided.sum()))
    return float(np.mean(values))


@pytest.mark.parametrize(
    "size",
    [((17, 19), "stretch"), ((23, 31), "stretch"), ((26, 26), "pad"), ((97, 101), "stretch")],
)
@pytest.mark.parametrize("data", [BINARY, CLASSES, LABELS], ids=lambda data: data.task)
def test_ceiling_is_the_dice_of_a_network_that_gives_the_training_mask(
    size: size_ceiling.TrainingSize, data: StudyDataConfig
) -> None:
    masks = []
    for seed in (1, 2):
        mask = specks(seed, 60, 84)
        if data is CLASSES:
            mask[:, 40:] *= 2
            mask[50:] = IGNORE_INDEX
        masks.append(np.stack([mask, 1 - mask], axis=2) if data is LABELS else mask)
    expected = np.mean([network_dice(mask, size, data) for mask in masks])
    ceiling = measure(masks, [size], data).ceilings[0]
    assert ceiling.dice == pytest.approx(expected, abs=2e-4)


def test_size_of_the_image_loses_nothing() -> None:
    mask = specks(3, 40, 40)
    table = measure([mask], [((40, 40), "stretch"), ((8, 8), "stretch")], BINARY)
    assert table.best == table.ceilings[0]
    assert (table.ceilings[0].dice, table.ceilings[0].object_f1) == (1.0, 1.0)
    assert table.ceilings[1].dice < 0.8


def test_object_that_vanishes_is_missed() -> None:
    """At a quarter of the size a square of 8 pixels survives and a speck of one pixel does not:
    one object found, one missed, so F1 is 2 / 3."""
    mask = np.zeros((64, 64), np.uint8)
    mask[8:16, 8:16] = 1
    mask[50, 50] = 1
    (ceiling,) = measure([mask], [((16, 16), "stretch")], BINARY).ceilings
    assert ceiling.object_f1 == pytest.approx(2 / 3)


def test_background_class_is_no_object() -> None:
    mask = np.zeros((32, 32), np.uint8)
    (ceiling,) = measure([mask], [((16, 16), "stretch")], CLASSES).ceilings
    assert ceiling.object_f1 is None
    assert ceiling.dice == 1.0


def test_masks_without_foreground_do_not_count() -> None:
    table = measure([np.zeros((32, 32), np.uint8)], [((16, 16), "stretch")], BINARY)
    assert (table.n_images, table.n_available, table.ceilings) == (0, 1, ())
    assert table.best is None


def test_sample_is_bounded_and_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_ceiling, "MAX_SAMPLED_PIXELS", 5 * 40 * 40)
    masks = [specks(seed, 40, 40) for seed in range(20)]
    first, second = (measure(masks, [((16, 16), "stretch")], BINARY) for _ in range(2))
    assert first == second
    assert (first.n_images, first.n_available, first.seed) == (5, 20, SEED)


def test_window_of_a_large_picture_stands_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = specks(4, 512, 640)
    complete = measure([mask], [((256, 256), "stretch")], BINARY)
    monkeypatch.setattr(size_ceiling, "MAX_SIDE", 256)
    read: list[int] = []
    source = DecodedImages([np.zeros((512, 640, 1), np.uint8)], [mask])

    def read_mask(row: int, window: size_ceiling.Window) -> NDArray[np.uint8]:
        read.append(window.height * window.width)
        return source.read_mask(row, window)

    part = measure_ceilings([0], lambda _: (512, 640), read_mask, [((256, 256), "stretch")], BINARY)
    assert read == [256 * 256]
    assert (part.n_windows, part.longest_side) == (1, 640)
    assert part.ceilings[0].dice == pytest.approx(complete.ceilings[0].dice, abs=0.05)


def test_table_is_read_back_and_a_damaged_one_is_measured_again(tmp_path: Path) -> None:
    table = measure([specks(5, 40, 40)], [((16, 16), "pad")], BINARY)
    path = tmp_path / "ceilings.json"
    assert read_ceilings(path) is None
    write_ceilings(path, table)
    assert read_ceilings(path) == table
    path.write_text("{", encoding="utf-8")
    assert read_ceilings(path) is None


def test_mask_too_large_to_decode_is_read_by_its_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = specks(6, 600, 512)
    for name, values in (("image", np.zeros((600, 512, 3), np.uint8)), ("mask", 255 * mask)):
        tifffile.imwrite(tmp_path / f"{name}.tif", values, rowsperstrip=16)
    arguments = (
        FolderSource(tmp_path),
        [("image.tif", ("mask.tif",))],
        [((256, 256), "stretch")],
        BINARY,
        1e6,
    )
    complete = measure_file_ceilings(*arguments)
    monkeypatch.setattr(large_image, "WHOLE_PIXELS", 1000)
    assert measure_file_ceilings(*arguments) == complete
    monkeypatch.setattr(size_ceiling, "MAX_SIDE", 256)
    part = measure_file_ceilings(*arguments)
    assert (part.n_windows, part.n_images) == (1, 1)
    assert 0.5 < part.ceilings[0].dice < 1
