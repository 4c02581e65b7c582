"""Windows of training images: where they lie, what they show, and that they can be repeated."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.study import TileConfig
from harness.data.loading.augment import build_augmentation
from harness.data.loading.batches import TrainBatches
from harness.data.loading.epoch_order import EpochOrder
from harness.data.loading.training_samples import TileSamples
from harness.data.windows.window import DecodedImages

BINARY = StudyDataConfig()
SHAPES = ((100, 140), (32, 20), (64, 30))


def source() -> DecodedImages:
    """Three images; only the first has foreground, a square of 10 px."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in SHAPES]
    masks = [np.zeros(shape, np.uint8) for shape in SHAPES]
    masks[0][70:80, 20:30] = 1
    return DecodedImages(images, masks)


def samples(**tile: Any) -> TileSamples:
    return TileSamples(source(), [0, 1, 2], TileConfig(**{"size": 32, **tile}), BINARY, seed=5)


def windows_of_epochs(made: TileSamples, row: int, n: int = 300) -> list[Any]:
    return [made.window(row, k, epoch) for epoch in (1, 2) for k in range(n)]


def test_number_of_windows_covers_each_image_once() -> None:
    assert samples().counts.tolist() == [4 * 5, 1, 2]
    assert samples(scale=0.5).counts.tolist() == [2 * 3, 1, 1]


def test_image_that_fits_is_shown_as_a_whole_with_padding() -> None:
    image, mask, box = samples()(1, 0, 1)
    np.testing.assert_array_equal(image[:, :20], source().images[1])
    assert box == (0, 0, 32, 20)
    assert not image[:, 20:].any()
    assert mask.shape == (32, 32)


def test_padding_of_a_mask_of_several_classes_is_ignored() -> None:
    data = StudyDataConfig(task="multiclass", classes=("a", "b"))
    made = TileSamples(source(), [1], TileConfig(size=32), data, seed=5)
    assert (made(1, 0, 1).mask[:, 20:] == IGNORE_INDEX).all()


def test_sample_shows_the_pixels_of_its_window() -> None:
    made = samples(foreground=0.0)
    row, window = made.window(0, 3, 2)
    image, mask, _ = made(0, 3, 2)
    assert row == 0
    np.testing.assert_array_equal(image, source().images[0][window.slices])
    np.testing.assert_array_equal(mask, source().masks[0][window.slices])


def test_windows_reach_every_corner_without_foreground() -> None:
    found = [window for _, window in windows_of_epochs(samples(foreground=0.0), 0, n=2000)]
    assert {window.top for window in found} == set(range(100 - 32 + 1))
    assert {window.left for window in found} == set(range(140 - 32 + 1))


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_share_of_the_windows_shows_foreground_of_any_large_image(share: float) -> None:
    """Image 2 has no foreground: the share of its draws goes to the square of image 0."""
    found = windows_of_epochs(samples(foreground=share), 2)
    moved = [window for row, window in found if row == 0]
    # 600 draws: the standard deviation of the share is at most 0.018.
    assert abs(len(moved) / len(found) - share) <= (0.07 if share < 1 else 0)
    for window in moved:
        assert source().masks[0][window.slices].any()


def test_windows_are_centred_on_the_pixel_and_stay_inside() -> None:
    """Pixel (70, 20) to (79, 29): windows of 32 px begin 16 before, from column 4 to 13."""
    found = [window for _, window in windows_of_epochs(samples(foreground=1.0), 0)]
    assert {window.left for window in found} == set(range(4, 14))
    assert {window.top for window in found} == set(range(54, 64))


def test_windows_differ_between_draws_and_epochs_and_seeds() -> None:
    made = samples(foreground=0.0)
    places = {made.window(0, k, epoch)[1] for k in range(5) for epoch in range(5)}
    assert len(places) == 25


def test_scale_shows_more_of_the_image() -> None:
    made = samples(scale=0.5, foreground=0.0)
    row, window = made.window(0, 0, 1)
    assert (row, window.height, window.width) == (0, 64, 64)
    image = made(0, 0, 1).image
    small: NDArray[Any] = (
        source().images[0][window.slices].reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    )
    np.testing.assert_allclose(image, small, atol=0.5)


def test_rest_of_an_epoch_has_the_windows_of_the_whole_epoch() -> None:
    """A resumed trial draws the same windows, in a new process and after some of the batches."""

    def batches() -> TrainBatches:
        reader = samples()
        empty = np.zeros((3, 1, 1, 3), np.uint8)
        return TrainBatches(
            empty,
            empty[..., 0],
            [0, 1, 2],
            4,
            build_augmentation("medium"),
            5,
            order=EpochOrder([0, 1, 2], 5, reader.counts),
            reader=reader,
        )

    whole = list(batches().epoch(3))
    rest = list(batches().epoch(3, first=2))
    assert len(whole) == 6
    for (image, mask), (again, mask_again) in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(mask, mask_again)
