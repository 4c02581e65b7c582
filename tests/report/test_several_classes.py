"""The report of a study with several classes. Masks come from here, not from files."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from harness.config.data import IGNORE_INDEX
from harness.data.files.image_io import LoadedPair, read_image
from harness.data.files.overlay import CLASS_COLOURS, draw_class_overlay, wrong_pixels
from harness.data.files.source import DataSource
from harness.data.splits.splits import SplitRow
from harness.report.page.page import write_report
from harness.report.predictions import validation_files
from harness.report.predictions.gallery import build_gallery
from harness.report.tables.class_sheet import class_sheet
from harness.report.tables.study_tables import load_study_tables
from harness.training.metrics.image_scores import (
    ScoreEntry,
    scores_from_entries,
    summarise_scores,
    write_scores,
)
from tests.report.studies import EVAL_SIZE, Builder

CLASSES = ["background", "disc", "big bar", "never"]


def truth_of(stem: str) -> np.ndarray:
    """A disc, in every second picture a bar beside it, VOID at the bottom."""
    k = int(Path(stem).stem[1:])
    truth = np.zeros((EVAL_SIZE, EVAL_SIZE), np.uint8)
    cv2.circle(truth, (10 + k, 14), 6, 1, -1)
    if k % 2:
        truth[:, :5] = 2
    truth[28:] = IGNORE_INDEX
    return truth


def decided_of(truth: np.ndarray, task: str) -> np.ndarray:
    moved = np.roll(np.where(truth == IGNORE_INDEX, 0, truth), 2, axis=1).astype(np.uint8)
    return moved if task == "multiclass" else planes_of(moved)


def planes_of(labels: np.ndarray) -> np.ndarray:
    return np.stack([labels == k for k in range(len(CLASSES))], axis=2).astype(np.uint8)


@pytest.fixture(params=["multiclass", "multilabel"])
def several(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    task = request.param
    data = {"root": "tiny", "task": task, "classes": CLASSES, "eval_size": EVAL_SIZE}
    if task == "multiclass":
        data["ignore_index"] = 9
    study = Builder(tmp_path, config={"data": data})

    def mask_of(name: str) -> np.ndarray:
        truth = truth_of(Path(name).name)
        if task == "multiclass":
            return truth
        return planes_of(np.where(truth == IGNORE_INDEX, 0, truth))

    def pair(source: DataSource, image: str, masks: list[str], *_: object) -> LoadedPair:
        row: SplitRow = next(r for r in study.rows if r.image == image)
        return LoadedPair(read_image(source.root / image, 1e6), mask_of(masks[0]), *row.hashes)

    monkeypatch.setattr(validation_files, "read_pair", pair)
    monkeypatch.setattr(
        validation_files, "read_upright_mask", lambda source, image, masks, *_: mask_of(masks[0])
    )
    # truths are at eval_size already; how they get there is tested with resize
    monkeypatch.setattr(validation_files, "resize_truth", lambda mask, *_, **__: mask)
    config = load_study_tables(study.paths).config.data
    paths, entries = study.paths.trial(0), []
    paths.probabilities.mkdir(parents=True)
    for row in study.rows[1:-1]:
        truth = truth_of(row.image)
        said = decided_of(truth, task)
        planes = planes_of(said) if task == "multiclass" else said
        if task == "multiclass":
            cv2.imwrite(str(paths.class_map(row.row)), said)
        for k in range(len(CLASSES)):
            cv2.imwrite(str(paths.probability(row.row, k)), 200 * planes[..., k])
            d = planes[..., k] == 1
            y = truth == k if task == "multiclass" else mask_of(Path(row.image))[..., k] == 1
            counts = truth != IGNORE_INDEX if task == "multiclass" else np.ones_like(y)
            numbers = [int((x & counts).sum()) for x in (d & y, d & ~y, ~d & y, ~d & ~y)]
            tp, fp, fn, _ = numbers
            sums = (float(tp), float(tp + fp), float(tp + fn))
            entries.append(_entry(row, k, sums, numbers))
    scores = scores_from_entries(entries)
    best = {k.replace("val/", "best/"): v for k, v in summarise_scores(scores, config).items()}
    study.trial(0, [0.5, 0.4], best=best)
    write_scores(paths.scores_csv, scores)
    return study


def _entry(
    row: SplitRow, k: int, sums: tuple[float, float, float], counts: list[int]
) -> ScoreEntry:
    tp, fp, fn, tn = counts
    return (row.row, row.image, k, *sums, tp, fp, fn, tn)


def test_decided_classes_are_drawn_and_wrong_pixels_hatched(several: Builder) -> None:
    tables = load_study_tables(several.paths)
    task = tables.config.data.task
    gallery = build_gallery(tables, several.data_root)
    assert gallery.notes == () and len(gallery.images) == 8
    item = gallery.images[0]
    (prediction,) = item.predictions
    big = np.kron  # every pixel becomes 10 x 10: 320 is the least size of a panel
    truth = truth_of(item.name)
    said = decided_of(truth, task)
    if task == "multilabel":
        truth = planes_of(np.where(truth == IGNORE_INDEX, 0, truth))
    block = np.ones((10, 10) + (1,) * (said.ndim - 2), np.uint8)
    truth, said = big(truth, block), big(said, block)
    grey = said.copy()
    grey[truth == IGNORE_INDEX] = IGNORE_INDEX
    expected = draw_class_overlay(item.image, grey, wrong=wrong_pixels(truth, said), plain={0})
    np.testing.assert_array_equal(prediction.overlay, expected)
    np.testing.assert_array_equal(item.strip_picture, expected)
    disc = (said == 1) if task == "multiclass" else (said[..., 1] == 1)
    assert disc.any() and (prediction.mask[disc] == CLASS_COLOURS[1]).all()
    assert item.truth.shape == prediction.mask.shape == (320, 320, 3)


def test_table_of_classes_counts_images_and_gives_both_metrics(several: Builder) -> None:
    tables = load_study_tables(several.paths)
    sheet = class_sheet(tables)
    texts = [[cell.text for cell in row] for row in sheet.rows]
    assert [c.title for c in sheet.columns] == ["class", "images", "Dice, trial 0", "IoU, trial 0"]
    assert [row[:2] for row in texts] == [
        ["background", "8"],
        ["disc", "8"],
        ["big bar", "4"],
        ["never", "0"],
    ]
    best = tables.records[0].best
    assert texts[2][2:] == [f"{best[f'best/{m}/big bar']:.4f}" for m in ("dice", "iou")]
    assert texts[3][2:] == ["", ""]


def test_page_has_legend_and_classes_and_the_csv_their_columns(several: Builder) -> None:
    page = write_report(several.paths, several.data_root).read_text()
    assert '<section id="classes">' in page
    first_screen = page[: page.index('<section id="gallery">')]
    assert "</span>wrong" in first_screen and "</span>truth" not in first_screen
    legend = page[page.index('<section id="gallery">') : page.index("<article")]
    assert f'style="background: {colour_of(1)}"></span>disc' in legend
    assert "</span>background" not in legend
    void = load_study_tables(several.paths).config.data.has_ignored_pixels
    assert ("</span>does not count" in legend) == void
    frame = pd.read_csv(several.paths.trials_csv)
    assert {"best/dice/disc", "best/iou/big bar"} <= set(frame.columns)
    assert ("best/miou" in frame.columns) == void


def colour_of(k: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*CLASS_COLOURS[k])
