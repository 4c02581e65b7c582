import errno
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from safetensors import SafetensorError
from torch import nn

from harness.core.paths import TrialPaths
from harness.data.files.overlay import COLOURS
from harness.training.loop.artifacts import (
    overlay_epochs,
    overlay_indices,
    pick_evenly,
    replace_folder,
    write_model,
    write_overlays,
    write_probabilities,
)
from tests.training.conftest import Pictures


def load(path: str, flags: int = cv2.IMREAD_COLOR) -> Any:
    return cv2.imread(path, flags)


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, {1}), (2, {1, 2}), (6, {1, 2, 4, 6}), (20, {1, 7, 14, 20})]
)
def test_four_epochs_are_drawn_at_most(epochs: int, expected: set[int]) -> None:
    assert overlay_epochs(epochs) == expected


def test_spread_keeps_first_and_last() -> None:
    indices = np.arange(10, 20)
    assert pick_evenly(indices, 4).tolist() == [10, 13, 16, 19]
    assert (
        pick_evenly(indices, 10).tolist() == pick_evenly(indices, 99).tolist() == indices.tolist()
    )


def test_drawn_images_have_something_to_find(pictures: Pictures) -> None:
    cache = pictures.cache()
    chosen = overlay_indices(cache)
    assert len(chosen) == 2
    assert all(cache.truths[i].any() and i in cache.val for i in chosen.tolist())


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_overlay_shows_the_whole_image_with_its_hits(
    pictures: Pictures, tmp_path: Path, fit: str
) -> None:
    cache = pictures.cache(size=(32, 32), fit=fit)  # type: ignore[arg-type]
    paths, index = TrialPaths(tmp_path), int(overlay_indices(cache)[0])
    row, truth = int(cache.row_of[index]), cache.truths[index]
    write_overlays(paths, 3, cache, {row: truth * 255})
    drawn = load(str(paths.overlay(3, row)))[:, :, ::-1].astype(int)
    assert drawn.shape == (40, 40, 3)
    green = np.abs(drawn - np.array(COLOURS["hit"])).sum(axis=2) == 0
    assert green.any() and truth[green].all(), "the contour of hits lies inside the truth"
    stored = load(str(pictures.root / pictures.rows[row].image))[:, :, ::-1]
    plain = cv2.resize(stored, (40, 40), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(drawn - plain)[truth == 0].mean() < 25


def test_probabilities_replace_those_of_before(tmp_path: Path) -> None:
    paths = TrialPaths(tmp_path)
    write_probabilities(paths, {3: np.zeros((4, 4), np.uint8), 5: np.ones((4, 4), np.uint8)})
    write_probabilities(paths, {7: np.full((4, 4), 200, np.uint8)})
    assert [path.name for path in paths.probabilities.iterdir()] == ["7-1.png"]
    read = load(str(paths.probability(7, 1)), cv2.IMREAD_UNCHANGED)
    assert read.shape == (4, 4) and (read == 200).all()


def test_interrupted_folder_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "best" / "model"
    with replace_folder(folder) as new:
        (new / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), replace_folder(folder) as new:  # noqa: PT012
        (new / "a").write_text("half")
        raise KeyboardInterrupt
    assert (folder / "a").read_text() == "old"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_full_disk_is_an_os_error_whoever_met_it(
    tmp_path: Path,
) -> None:
    class Network(nn.Module):
        def save_pretrained(self, _: Path) -> None:
            raise SafetensorError("I/O error: No space left on device (os error 28)")

    with pytest.raises(OSError, match="No space left") as caught:
        write_model(TrialPaths(tmp_path), Network())
    assert caught.value.errno == errno.ENOSPC
    assert not TrialPaths(tmp_path).model.exists()
