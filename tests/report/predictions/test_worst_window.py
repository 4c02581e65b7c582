"""The window of a large image with the most wrong pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.data.files import large_image
from harness.data.files.source import FolderSource
from harness.data.splits.splits import SplitRow
from harness.data.windows.window import Window
from harness.report.predictions import worst_window
from harness.report.predictions.gallery import build_gallery
from harness.report.predictions.validation_files import ValidationFiles
from harness.report.predictions.worst_window import (
    draw_window,
    find_worst_window,
    window_side,
)
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder

DATA = StudyDataConfig(eval_size=100)


def test_window_lies_over_the_most_wrong_pixels() -> None:
    """At 100 px, of 1000 x 2000: wrong are 6 x 4 pixels from (70, 20), and one pixel elsewhere."""
    truth, decision = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    decision[70:76, 20:24] = 1
    truth[5, 5] = 1
    truth[0:3] = IGNORE_INDEX
    window = find_worst_window(truth, decision, (1000, 2000), 100)
    assert window is not None
    assert (window.height, window.width) == (100, 100)
    assert 660 <= window.top <= 700 and 380 <= window.left <= 400
    assert find_worst_window(truth, decision, (768, 700), 100) is None, "the overview shows it"
    assert find_worst_window(truth, truth, (1000, 2000), 100) is None, "nothing is wrong"


def test_window_stays_inside_narrow_images_and_at_edges() -> None:
    truth, decision = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    decision[99, 99] = 1
    for size in ((90, 3000), (2000, 2000), (3000, 90)):
        window = find_worst_window(truth, decision, size, 256)
        assert window is not None
        assert (window.height, window.width) == (min(256, size[0]), min(256, size[1]))
        bottom, right = window.top + window.height, window.left + window.width
        # The wrong pixel covers a hundredth of each side.
        assert 0.99 * size[0] < bottom <= size[0] and 0.99 * size[1] < right <= size[1]


def test_side_is_that_of_the_tiles_within_bounds() -> None:
    assert window_side({}) == 256
    sides = [window_side({"data.tile.size": size}) for size in (32, 320, 2048, None)]
    assert sides == [64, 320, 512, 256]


def test_window_counts_wrong_pixels_at_full_resolution() -> None:
    decision = np.zeros((10, 10), np.uint8)
    decision[5:, :] = 1  # rows 500 to 999 of 1000
    truth = np.zeros((64, 64), np.uint8)
    truth[40:, :] = 1
    truth[:, 60:] = IGNORE_INDEX
    image = np.zeros((64, 64, 3), np.uint8)
    window = Window(476, 100, 64, 64)
    detail = draw_window(window, image, truth, decision, (1000, 800), DATA)
    assert detail.text == (
        "worst window at full resolution: 64 × 64 px from (100, 476) of 800 × 1000, "
        f"{16 * 60} wrong pixels"
    )
    assert detail.image.shape == detail.overlay.shape == (64, 64, 3)


def test_large_tiff_is_read_by_window_and_agrees_with_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (700, 500, 3), np.uint8), (0, 0), 3)
    mask = np.zeros((700, 500), np.uint8)
    mask[200:400, 100:300] = 255
    tifffile.imwrite(tmp_path / "i.tif", image, rowsperstrip=16)
    tifffile.imwrite(tmp_path / "m.tif", mask, rowsperstrip=16)
    files = ValidationFiles(FolderSource(tmp_path), DATA, 1e6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_image, "WHOLE_PIXELS", 1000)
        from harness.data.windows.large_pair import open_large_pair

        with open_large_pair(files.source, "i.tif", ["m.tif"], DATA, 1e6) as pair:
            assert pair is not None
            row = SplitRow(0, "i.tif", "m.tif", "val", "g", *pair.hashes)
        window = Window(190, 90, 64, 80)
        parts = [files.read_window(row, window), files.read_truth(row)]
        overview = files.read_overview(row, 100)
    complete = ValidationFiles(files.source, DATA, 1e6)
    for part, other in zip(parts[0], complete.read_window(row, window), strict=True):
        np.testing.assert_array_equal(part, other)
    np.testing.assert_array_equal(parts[1], complete.read_truth(row))
    other_overview = complete.read_overview(row, 100)
    assert overview.size == other_overview.size == (700, 500)
    np.testing.assert_array_equal(overview.truth, other_overview.truth)
    difference = np.abs(overview.image.astype(int) - other_overview.image.astype(int))
    assert difference.max() <= 2


def test_gallery_shows_the_window_of_large_images_only(
    study: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.trial(0, [0.5], skill=0.5)
    tables = load_study_tables(study.paths)
    assert all(item.detail is None for item in build_gallery(tables, study.data_root).images)
    monkeypatch.setattr(worst_window, "MAX_OVERVIEW_SIDE", 30)
    monkeypatch.setattr(worst_window, "_SIDES", (8, 512))
    monkeypatch.setattr(worst_window, "DEFAULT_SIDE", 16)
    details = [item.detail for item in build_gallery(tables, study.data_root).images]
    assert details and all(detail is not None for detail in details)
    assert {detail.image.shape for detail in details if detail} == {(16, 16, 3)}
