"""Pixels that are in memory together while large images are read: counted, not timed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from harness.config.data import StudyDataConfig
from harness.core.files import file_sha256
from harness.data.datasets.pairs import Dataset, ImageMaskPair
from harness.data.files import decode, large_image
from harness.data.files.source import FolderSource
from harness.data.files.tiff import TiffReader
from harness.data.scan.pair_scan import scan_pair
from harness.data.scan.scan_cache import PairStats
from harness.data.splits.split_file import SplitRow
from harness.data.windows.native_store import open_store
from harness.data.windows.overview import read_pair_or_overview
from harness.data.windows.window import Window

WIDTH = 700
DATA = StudyDataConfig(eval_size=64)
STORAGE: list[dict[str, Any]] = [
    {"tile": (128, 128)},
    {"tile": (128, 128), "bigtiff": True, "compression": "zlib"},
    {"rowsperstrip": 4, "compression": "lzw"},
    {"rowsperstrip": 10_000},
]
MAX_PIXELS = 200 * WIDTH  # below that of each image


def write_pair(root: Path, height: int, storage: dict[str, Any]) -> None:
    root.mkdir()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, WIDTH, 3)).astype(np.uint8)
    tifffile.imwrite(root / "x.tif", image, photometric="rgb", **storage)
    mask = (image[..., 0] > 250).astype(np.uint8) * 255
    tifffile.imwrite(root / "m.tif", mask, photometric="minisblack", **storage)


@contextmanager
def counted_pixels(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Most pixels that one reader returned and kept at a time; entire decoding is an error."""
    most, read = [0], TiffReader.read

    def counting_read(self: TiffReader, top: int, left: int, height: int, width: int) -> Any:
        samples = read(self, top, left, height, width)
        most.append(height * width + self.n_held_samples // samples.shape[2])
        return samples

    with monkeypatch.context() as patch:
        patch.setattr(TiffReader, "read", counting_read)
        patch.setattr(decode, "decode_tiff", None)
        patch.setattr(large_image, "WHOLE_PIXELS", 1000)
        yield lambda: max(most)


def scan(root: Path) -> None:
    pair = ImageMaskPair("x", Path("x.tif"), (Path("m.tif"),))
    stats = scan_pair(Dataset("d", FolderSource(root), (pair,), DATA, MAX_PIXELS), pair)
    assert isinstance(stats, PairStats), stats


def build(root: Path) -> None:
    hashes = [file_sha256(root / name) for name in ("x.tif", "m.tif")]
    row = SplitRow(0, "x.tif", "m.tif", "train", "x", *hashes)
    folder = root / "cache"
    store = open_store(FolderSource(root), [row], DATA, folder=folder, max_pixels=MAX_PIXELS)
    assert store.read_image(0, Window(300, 10, 5, 5)).any()


def draw(root: Path) -> None:
    read_pair_or_overview(FolderSource(root), "x.tif", ["m.tif"], DATA, MAX_PIXELS)


@pytest.mark.parametrize("step", [scan, build, draw])
@pytest.mark.parametrize("storage", STORAGE)
def test_pixels_in_memory_are_bounded_by_a_band_whatever_the_height(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: Callable[[Path], None],
    storage: dict[str, Any],
) -> None:
    """A band and its surroundings, and the strips or tiles that it touches."""
    monkeypatch.setattr("harness.data.files.tiff_segments._PART_PIXELS", 64 * WIDTH)
    counts = []
    for height in (1000, 2000):
        root = tmp_path / str(height)
        write_pair(root, height, storage)
        with counted_pixels(monkeypatch) as most_pixels:
            step(root)
            counts.append(most_pixels())
    band = (large_image.BAND_ROWS + 2 * 8) * WIDTH
    n_rows, n_columns = -(-WIDTH // 128) * 128, large_image.BAND_ROWS + 2 * 8 + 2 * 128
    assert 0 < counts[0] <= band + n_rows * n_columns
    assert counts[1] == counts[0]
