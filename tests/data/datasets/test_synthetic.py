from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.core.errors import DataError
from harness.data.datasets.sources import open_dataset
from harness.data.datasets.synthetic import draw_image, generate_dataset
from harness.data.files.image_io import read_pair
from harness.data.files.source import FolderSource
from tests.data.make import DATA, MAX_PIXELS


def test_folder_holds_pairs_that_can_be_read(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    root = generate_dataset(
        tmp_path / "polyps", count=5, size=32, progress=lambda *d: calls.append(d)
    )
    dataset = open_dataset(root, DATA, max_pixels=MAX_PIXELS)
    assert [pair.stem for pair in dataset.pairs] == [f"polyp-{i:04d}" for i in range(5)]
    for index, pair in enumerate(dataset.pairs):
        read = read_pair(FolderSource(root), pair.image, pair.masks, DATA, MAX_PIXELS)
        np.testing.assert_array_equal(read.mask, draw_image(32, 0, index)[1])
        # JPEG at quality 95 moves colours a little, and shifts none.
        assert np.abs(read.image.astype(int) - draw_image(32, 0, index)[0]).mean() < 6
    assert calls == [(done, 5) for done in range(1, 6)]
    assert [path.name for path in tmp_path.iterdir()] == ["polyps"]


def test_picture_follows_from_seed_size_and_number(tmp_path: Path) -> None:
    first, again = draw_image(48, 3, 7), draw_image(48, 3, 7)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    for other in (draw_image(48, 4, 7), draw_image(48, 3, 8)):
        assert other[0].shape != first[0].shape or (other[0] != first[0]).any()
    few = generate_dataset(tmp_path / "a", count=2, size=32)
    many = generate_dataset(tmp_path / "b", count=4, size=32)
    for path in sorted(few.glob("*/*")):
        assert path.read_bytes() == (many / path.relative_to(few)).read_bytes()


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        generate_dataset(tmp_path, count=1, size=32)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_image(64, 0, index) for index in range(120)]


def test_no_picture_is_empty_and_sizes_vary(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Like real polyps: a small part of the picture in the median, from specks to a third."""
    shares = [float(mask.mean()) for _, mask in pairs]
    assert min(shares) > 0 and min(shares) < 0.02
    assert 0.02 < np.median(shares) < 0.15
    assert 0.2 < max(shares) < 0.7
    assert len({image.shape for image, _ in pairs}) >= 3
    assert {value for _, mask in pairs for value in np.unique(mask)} == {0, 1}


def test_polyps_are_sometimes_hard_to_see(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Colour difference (CIE) between the polyp and a ring around it: some plain, some hardly."""
    differences = []
    for image, mask in pairs:
        lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
        ring = cv2.dilate(mask, np.ones((9, 9), np.uint8)) > mask
        ring &= image.max(2) > 20  # not the black frame
        if ring.sum() > 10:
            differences.append(np.linalg.norm(lab[mask > 0].mean(0) - lab[ring].mean(0)))
    assert len(differences) > 100
    assert np.quantile(differences, 0.2) < 6 and np.quantile(differences, 0.8) > 9


def test_brightness_alone_does_not_find_polyps(
    pairs: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    """The best single threshold on any colour channel, chosen per picture, stays a poor answer."""
    best = []
    for image, mask in pairs[:40]:
        dice = []
        for channel in cv2.split(image):
            for level in range(20, 250, 10):
                for said in (channel > level, channel <= level):
                    dice.append(2 * (said & (mask > 0)).sum() / (said.sum() + mask.sum()))
        best.append(max(dice))
    assert np.mean(best) < 0.6


def test_hard_polyps_stand_out_less() -> None:
    """Against a ring around it, an easy polyp differs more in colour than a hard one."""

    def contrast(difficulty: float) -> float:
        differences = []
        for index in range(12):
            image, mask = draw_image(96, 3, index, difficulty)
            ring = cv2.dilate(mask, np.ones((15, 15), np.uint8)) > mask
            if mask.any() and ring.any():
                inside, outside = image[mask > 0].mean(axis=0), image[ring].mean(axis=0)
                differences.append(np.abs(inside / inside.sum() - outside / outside.sum()).sum())
        return float(np.median(differences))

    assert contrast(1.0) < 0.7 * contrast(0.0)


def test_easy_images_have_one_large_polyp_that_stands_out() -> None:
    """At least a hundredth of the image, redder or paler than around it by a tenth or more."""
    for index in range(40):
        image, mask = draw_image(96, 5, index, 0)
        n_parts, _ = cv2.connectedComponents(mask)
        assert n_parts == 2  # background and one polyp
        assert mask.mean() > 0.01
        lit = image.sum(axis=2) > 120
        redness = image[..., 0] / (image[..., 1:].sum(axis=2) + 1.0)
        around = cv2.dilate(mask, np.ones((15, 15), np.uint8)) - mask
        inside, outside = (np.median(redness[(m == 1) & lit]) for m in (mask, around))
        assert abs(np.log(inside / outside)) > 0.1, index
