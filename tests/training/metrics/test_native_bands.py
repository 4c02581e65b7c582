"""Mean probabilities in bands, against those of whole images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.data.windows.grid import WindowGrid, window_starts
from harness.data.windows.window import DecodedImages
from harness.training.metrics.native_bands import iterate_mean_bands, merge_bands
from harness.training.metrics.native_size import NativePredictor, mean_probabilities
from tests.training.metrics.test_native_size import CPU, config_of, saved

DATA = StudyDataConfig()


def picture(height: int, width: int) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def network(tmp_path: Path, seed: int, **settings: Any) -> NativePredictor:
    config = config_of(**settings)
    return NativePredictor(saved(tmp_path / str(seed), config, seed=seed), config, DATA, CPU)


def collected(bands: Iterator[tuple[int, NDArray[np.float32]]]) -> NDArray[np.float32]:
    parts, expected_top = [], 0
    for top, p in bands:
        assert top == expected_top
        expected_top += p.shape[1]
        parts.append(p)
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("tta", [False, True])
def test_bands_have_the_mean_of_whole_images(tmp_path: Path, tta: bool) -> None:
    """Windows of two sizes, one of them reduced; the first network counts twice."""
    image = picture(150, 101)
    first = network(tmp_path, 0, **{"data.tile.size": 32})
    second = network(tmp_path, 1, **{"data.tile.size": 32, "data.tile.scale": 0.5})
    for members in ([first], [first, second, first]):
        (whole,) = mean_probabilities(members, [image], tta=tta)
        bands = iterate_mean_bands(members, DecodedImages([image], []), 0, tta=tta)
        # Weighted sums over more than two windows are added in another order in a flipped image.
        np.testing.assert_allclose(collected(bands), whole, rtol=0, atol=1e-6 if tta else 0)
        assert np.ptp(whole) > 0.01
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("tta", [False, True])
def test_network_of_whole_images_joins_in(tmp_path: Path, tta: bool) -> None:
    """Its input is reduced in bands: areas are added in another order before they are rounded."""
    image = picture(300, 120)
    members = [network(tmp_path, 0, **{"data.tile.size": 32}), network(tmp_path, 1)]
    (whole,) = mean_probabilities(members, [image], tta=tta)
    bands = iterate_mean_bands(members, DecodedImages([image], []), 0, tta=tta)
    np.testing.assert_allclose(collected(bands), whole, rtol=0, atol=1e-3)


def test_image_that_fits_into_a_window_is_flipped_with_its_padding(tmp_path: Path) -> None:
    image = picture(20, 31)
    member = network(tmp_path, 0, **{"data.tile.size": 32})
    (whole,) = mean_probabilities([member], [image], tta=True)
    bands = iterate_mean_bands([member], DecodedImages([image], []), 0, tta=True)
    np.testing.assert_allclose(collected(bands), whole, rtol=0, atol=1e-7)


def test_merged_bands_have_the_rows_of_all() -> None:
    rows = np.arange(10, dtype=np.float32)[None, :, None]

    def bands(*cuts: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        for part in np.split(np.arange(10), cuts):
            yield int(part[0]), rows[:, part]

    merged = list(merge_bands([bands(3, 7), bands(4), bands()]))
    assert [top for top, _ in merged] == [0, 3, 4, 7]
    for k in range(3):
        np.testing.assert_array_equal(np.concatenate([p[k] for _, p in merged], axis=1), rows)


def test_windows_of_a_flipped_image_are_mirrored() -> None:
    grid = WindowGrid(100, 30, 32, 0.5, (True, True))
    plain = WindowGrid(100, 30, 32, 0.5)
    assert plain.tops == window_starts(100, 32, 0.5) == (0, 16, 32, 48, 64, 68)
    assert grid.tops == (0, 4, 20, 36, 52, 68)
    assert grid.lefts == (0,)
    np.testing.assert_array_equal(grid.row_weights, plain.row_weights[::-1, ::-1])
