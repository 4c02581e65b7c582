import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from harness.data.augment import build_augment
from harness.data.batches import TrainBatches, subset_indices
from tests.data.make import picture, square


def batches(n: int = 7, size: int = 3, augment: str = "none", seed: int = 0) -> TrainBatches:
    """Image i is filled with the value i, so that batches show what is in them."""
    images = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    return TrainBatches(images, images[..., 0] % 2, range(n), size, build_augment(augment), seed)


def contents(made: TrainBatches, epoch: int) -> list[list[int]]:
    return [images[:, 0, 0, 0].tolist() for images, _ in made.epoch(epoch)]


@pytest.mark.parametrize(
    ("n", "size", "steps", "shown"),
    [(6, 3, 2, 6), (8, 3, 3, 8), (7, 3, 2, 6), (1, 3, 1, 1), (3, 1, 3, 3), (2, 8, 1, 2)],
)
def test_last_batch_of_one_is_dropped_unless_alone(
    n: int, size: int, steps: int, shown: int
) -> None:
    made = batches(n, size)
    seen = contents(made, 1)
    assert len(made) == len(seen) == steps
    assert sum(len(batch) for batch in seen) == shown
    assert len({image for batch in seen for image in batch}) == shown


def test_order_follows_from_seed_and_epoch_alone() -> None:
    one, other = batches(), batches()
    first = contents(one, 1)
    assert contents(one, 2) != first
    assert contents(other, 2) == contents(one, 2)
    assert contents(one, 1) == first
    assert contents(batches(seed=1), 1) != first


def test_masks_belong_to_their_images() -> None:
    for images, masks in batches(8, 3).epoch(1):
        np.testing.assert_array_equal(images[..., 0] % 2, masks)


def test_augmentation_follows_from_seed_epoch_and_image() -> None:
    """The same image in another batch size is changed the same way; in another epoch not."""
    images = np.stack([picture(i, 32, 32) for i in range(6)])
    masks = np.stack([square(32, 32)] * 6)

    def changed(size: int, epoch: int) -> set[bytes]:
        made = TrainBatches(images, masks, range(6), size, build_augment("medium"), 5)
        return {image.tobytes() for batch, _ in made.epoch(epoch) for image in batch}

    assert changed(2, 1) == changed(3, 1)
    assert len(changed(2, 1) & changed(2, 2)) <= 1


def test_batches_are_writable_and_leave_the_images_alone() -> None:
    images = np.zeros((4, 8, 8, 3), np.uint8)
    images.flags.writeable = False
    made = TrainBatches(images, images[..., 0], range(4), 2, build_augment("none"), 0)
    for batch, mask in made.epoch(1):
        batch += 1
        mask += 1
    assert images.sum() == 0


def test_leaving_an_epoch_early_ends_its_thread() -> None:
    before = threading.active_count()
    running = batches(20, 2).epoch(1)
    next(running)
    assert threading.active_count() == before + 1
    running.close()
    assert threading.active_count() == before


def test_an_error_while_preparing_reaches_the_caller() -> None:
    made = TrainBatches(
        np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), np.uint8), [5], 1, "none", 0
    )
    with pytest.raises(IndexError):
        list(made.epoch(1))


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        batches(0)


@pytest.mark.parametrize(("share", "n"), [(1.0, 10), (0.3, 3), (0.31, 4), (0.01, 1), (0.7, 7)])
def test_subset_has_the_asked_share_rounded_up(share: float, n: int) -> None:
    chosen = subset_indices(range(5, 15), share)
    assert len(chosen) == n
    assert set(chosen) <= set(range(5, 15)) and list(chosen) == sorted(chosen)


def test_subsets_are_nested_and_the_same_every_time() -> None:
    indices = np.arange(100)[::-1]
    sizes = [set(subset_indices(indices, share)) for share in (0.1, 0.2, 0.5, 1.0)]
    assert sizes[0] < sizes[1] < sizes[2] < sizes[3]
    assert set(subset_indices(range(100), 0.2)) == sizes[1]
    assert sizes[1] != set(range(20))


def test_16_bits_come_as_shares_of_the_declared_range() -> None:
    images = np.array([0, 1000, 3000, 5000], np.uint16)[:, None, None, None] * np.ones(
        (1, 4, 4, 5), np.uint16
    )
    masks = np.zeros((4, 4, 4), np.uint8)
    none = build_augment("none")
    made = TrainBatches(images, masks, range(4), 4, none, 0, value_range=(1000.0, 5000.0))
    ((shown, _),) = made.epoch(1)
    assert shown.dtype == np.float32 and shown.shape == (4, 4, 4, 5)
    assert sorted(shown[:, 0, 0, 0].tolist()) == [0.0, 0.0, 0.5, 1.0]  # below the range: its end


def _drawn(seed: int, epoch: int) -> list[bytes]:
    """The augmented images of one epoch of a trial, in the order of their names."""
    images = np.stack([picture(i, 32, 32) for i in range(6)])
    masks = np.stack([square(32, 32)] * 6)
    made = TrainBatches(images, masks, range(6), 2, build_augment("strong"), seed)
    return sorted(image.tobytes() for batch, _ in made.epoch(epoch) for image in batch)


def test_another_worker_repeats_a_trial_and_no_two_trials_or_epochs_share_a_picture() -> None:
    asked = [(seed, epoch) for seed in (1, 2) for epoch in (1, 2, 3)]
    here = [_drawn(*one) for one in asked]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as worker:
        there = [worker.submit(_drawn, *one).result() for one in asked]
    assert here == there
    pictures = [one for epoch in here for one in epoch]
    assert len(set(pictures)) == len(pictures) == 36
