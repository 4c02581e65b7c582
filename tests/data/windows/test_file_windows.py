from pathlib import Path

import numpy as np
import pytest
import tifffile

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.core.files import file_sha256
from harness.data.files import large_image
from harness.data.files.source import FolderSource
from harness.data.splits.split_file import SplitRow
from harness.data.windows.file_windows import FileWindows
from harness.data.windows.overview import read_pair_or_overview
from harness.data.windows.window import Window, decode_images
from tests.data.make import MAX_PIXELS, save, square

DATA = StudyDataConfig()


@pytest.fixture
def rows(tmp_path: Path) -> list[SplitRow]:
    """A TIFF and a PNG of test, each with its mask."""
    rng = np.random.default_rng(0)
    rows = []
    for index, suffix in enumerate(("tif", "png")):
        height, width = 400 + 10 * index, 300
        image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        mask = 255 * square(height, width)
        names = f"i{index}.{suffix}", f"m{index}.{suffix}"
        if suffix == "tif":
            tifffile.imwrite(tmp_path / names[0], image, photometric="rgb", tile=(64, 64))
            tifffile.imwrite(tmp_path / names[1], mask, compression="lzw", rowsperstrip=5)
        else:
            save(tmp_path / names[0], image)
            save(tmp_path / names[1], mask)
        hashes = [file_sha256(tmp_path / name) for name in names]
        rows.append(SplitRow(index, *names, "test", str(index), *hashes))
    return rows


def test_windows_are_those_of_decoded_images(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FolderSource(tmp_path)
    whole = decode_images(source, rows, DATA, MAX_PIXELS)
    monkeypatch.setattr(large_image, "WHOLE_PIXELS", 1000)
    rng = np.random.default_rng(1)
    with FileWindows(source, rows, DATA, MAX_PIXELS) as windows:
        assert len(windows) == 2
        for row in (0, 1, 0):
            height, width, _ = windows.shape(row)
            assert windows.shape(row) == whole.shape(row)
            for _ in range(10):
                top, left = int(rng.integers(height - 40)), int(rng.integers(width - 50))
                window = Window(top, left, 40, 50)
                np.testing.assert_array_equal(
                    windows.read_image(row, window), whole.read_image(row, window)
                )
                np.testing.assert_array_equal(
                    windows.read_mask(row, window), whole.read_mask(row, window)
                )
        with pytest.raises(ValueError, match="does not lie inside"):
            windows.read_image(0, Window(390, 0, 40, 40))


@pytest.mark.parametrize("row", [0, 1])
def test_other_content_than_recorded_is_refused(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch, row: int
) -> None:
    monkeypatch.setattr(large_image, "WHOLE_PIXELS", 1000)
    with (tmp_path / rows[row].image).open("ab") as handle:
        handle.write(b"more")
    with (
        FileWindows(FolderSource(tmp_path), rows, DATA, MAX_PIXELS) as windows,
        pytest.raises(DataError, match="has changed since its hash was recorded"),
    ):
        windows.shape(row)


def test_overview_keeps_aspect_ratio_and_place(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, row = FolderSource(tmp_path), rows[0]
    arguments = source, row.image, row.masks, DATA, MAX_PIXELS
    whole = read_pair_or_overview(*arguments)
    assert whole.image.shape == (400, 300, 3)
    monkeypatch.setattr(large_image, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr("harness.data.windows.overview._SHORT_SIDE", 75)
    overview = read_pair_or_overview(*arguments)
    assert overview.image.shape == (100, 75, 3) and overview.mask.shape == (100, 75)
    blocks = whole.image.reshape(100, 4, 75, 4, 3).mean(axis=(1, 3))
    assert np.abs(overview.image - blocks).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(overview.mask, whole.mask[2::4, 2::4])
