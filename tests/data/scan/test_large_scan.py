from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.data.datasets.pairs import Dataset, ImageMaskPair
from harness.data.files import large_image
from harness.data.files.source import FolderSource
from harness.data.scan.components import ComponentCounter
from harness.data.scan.pair_scan import BadPair, fingerprint_image, scan_pair
from harness.data.scan.scan_cache import PairStats
from tests.data.make import MAX_PIXELS

HEIGHT, WIDTH = 900, 700
PAIR = ImageMaskPair("x", Path("x.tif"), (Path("m.tif"),))


def image() -> NDArray[Any]:
    """A smooth scene with a black border of 40 rows above."""
    rng = np.random.default_rng(0)
    small = rng.integers(60, 256, (9, 7, 3)).astype(np.uint8)
    scene = np.asarray(cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR))
    scene[:40] = 3
    return scene


def discs(n: int, seed: int = 0, radius: int = 12) -> NDArray[np.uint8]:
    """Numbered discs, of which many cross the borders of bands or touch others."""
    mask, rng = np.zeros((HEIGHT, WIDTH), np.uint8), np.random.default_rng(seed)
    for number in range(1, n + 1):
        centre = int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))
        cv2.circle(mask, centre, int(rng.integers(1, radius)), number, -1)
    return mask


def scanned(
    root: Path, mask: NDArray[Any], monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> tuple[PairStats | BadPair, PairStats | BadPair]:
    """The statistics of a pair that is decoded entirely, and of one that is read in bands."""
    tifffile.imwrite(root / "x.tif", image(), photometric="rgb", tile=(64, 64))
    photometric = "rgb" if mask.ndim == 3 else "minisblack"
    tifffile.imwrite(
        root / "m.tif", mask, photometric=photometric, compression="lzw", rowsperstrip=9
    )
    data = StudyDataConfig(**settings)
    dataset = Dataset("d", FolderSource(root), (PAIR,), data, MAX_PIXELS)
    whole = scan_pair(dataset, PAIR)
    monkeypatch.setattr(large_image, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr("harness.data.scan.pair_scan.load_pair", None)
    return whole, scan_pair(dataset, PAIR)


@pytest.mark.parametrize(
    ("mask", "settings"),
    [
        (255 * (discs(60) > 0).astype(np.uint8), {"eval_size": 64}),
        (255 * (discs(60) > 0).astype(np.uint8), {"eval_size": 1024}),
        ((discs(200, radius=4) > 0).astype(np.uint8), {"eval_size": 32}),
        (discs(60) % 3, {"task": "multiclass", "classes": ("a", "b", "c"), "eval_size": 100}),
        (discs(40), {"values": "nonzero", "eval_size": 50}),
    ],
)
def test_statistics_are_those_of_the_whole_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: NDArray[Any], settings: dict[str, Any]
) -> None:
    whole, banded = scanned(tmp_path, mask, monkeypatch, **settings)
    assert isinstance(whole, PairStats) and isinstance(banded, PairStats)
    assert banded.hashes == whole.hashes and banded.pixels == whole.pixels
    assert banded.size == whole.size and banded.shares == whole.shares
    assert banded.seen == whole.seen
    difference = np.abs(banded.thumbnail - whole.thumbnail)
    assert difference.max() < 0.5, "levels of 255: areas of areas are rounded once more"


def test_overview_of_a_smaller_scale_finds_the_border_within_a_pixel_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.data.windows.overview._SHORT_SIDE", 175)
    _, banded = scanned(tmp_path, 255 * (discs(9) > 0).astype(np.uint8), monkeypatch)
    assert isinstance(banded, PairStats)
    assert abs(banded.seen.border[0] - 40) <= 4 and banded.seen.border[1:] == (0, 0, 0)


def test_mask_without_meaning_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, banded = scanned(tmp_path, discs(20, radius=30), monkeypatch)
    assert isinstance(whole, BadPair) and isinstance(banded, BadPair)
    assert banded.values == whole.values and banded.stored == whole.stored
    assert "are not two-valued" in banded.problem


@pytest.mark.parametrize("seed", range(5))
def test_components_of_bands_are_those_of_the_plane(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plane = (rng.random((60, 40)) < 0.45).astype(np.uint8)
    counter = ComponentCounter()
    for top in range(0, 60, 7):
        counter.add(top, plane[top : top + 7])
    n, _, stats, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
    expected = sorted(np.asarray(stats)[1:].tolist())
    assert len(expected) == n - 1 and sorted(counter.stats().tolist()) == expected


def test_plane_without_objects_has_none() -> None:
    counter = ComponentCounter()
    counter.add(0, np.zeros((5, 5), np.uint8))
    counter.add(5, np.zeros((5, 5), np.uint8))
    assert counter.stats().shape == (0, 5)


def test_fingerprint_is_that_of_the_whole_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "x.tif", image(), photometric="rgb", tile=(64, 64))
    arguments = FolderSource(tmp_path), Path("x.tif"), StudyDataConfig(), MAX_PIXELS
    whole = fingerprint_image(*arguments)
    monkeypatch.setattr(large_image, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr("harness.data.scan.pair_scan.load_image_file", None)
    banded = fingerprint_image(*arguments)
    assert (banded.image_sha256, banded.pixels) == (whole.image_sha256, whole.pixels)
    assert np.abs(banded.thumbnail - whole.thumbnail).max() < 0.5
