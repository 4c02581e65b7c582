from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.data.loading.augment import build_augmentation, load_steps
from harness.data.loading.augment_draws import AugmentationDraws
from harness.data.loading.batches import TrainBatches
from harness.data.loading.epoch_order import EpochOrder
from harness.training.on_device.device_batches import DeviceBatches
from harness.training.on_device.device_images import DeviceImages
from tests.data.make import picture, square

N = 11
TRAIN = np.arange(2, 2 + 2 * N, 2)  # indices in a cache that also holds other images
Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]


def cached(planes: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images = np.stack([picture(i, 32, 40) for i in range(2 * N + 2)])
    masks = np.stack([np.roll(square(32, 40), i) for i in range(2 * N + 2)])
    return images, np.stack([masks, 1 - masks], axis=-1) if planes else masks


def padded_boxes() -> NDArray[np.int64]:
    return np.array([[0, 0, 32, 40 - i % 7] for i in range(2 * N + 2)], np.int64)


def both(
    augment: str,
    size: int = 4,
    *,
    data: StudyDataConfig | None = None,
    boxes: NDArray[np.int64] | None = None,
    planes: bool = False,
) -> tuple[DeviceBatches, TrainBatches]:
    """Batches of the device and of the CPU from the same images; image 2 is drawn twice."""
    data = data or StudyDataConfig()
    images, masks = cached(planes)
    order = EpochOrder(TRAIN, 3, np.r_[2.0, np.ones(N - 1)])
    steps, p = load_steps(augment, None, data)
    draws = AugmentationDraws(steps, p, images.shape[1:])
    tensors = DeviceImages(torch.from_numpy(images[TRAIN]), torch.from_numpy(masks[TRAIN]), TRAIN)
    pipeline = build_augmentation(augment, data=data)
    return (
        DeviceBatches(tensors, draws, order, size, 3, boxes),
        TrainBatches(images, masks, TRAIN, size, pipeline, 3, boxes=boxes, order=order),
    )


def arrays(batches: DeviceBatches | TrainBatches, epoch: int, first: int = 0) -> list[Arrays]:
    made = batches.epoch_with_contents(epoch, first)
    return [tuple(None if a is None else np.asarray(a) for a in batch) for batch in made]  # type: ignore[misc]


@pytest.mark.parametrize("augment", ["none", "light"])
@pytest.mark.parametrize("planes", [False, True])
def test_batches_equal_those_of_the_cpu(augment: str, planes: bool) -> None:
    """Flips and brightness need no interpolation: every byte."""
    on_device, on_cpu = both(augment, planes=planes)
    assert (len(on_device), on_device.n_images, on_device.n_draws) == (3, N, N + 1)
    assert (len(on_cpu), on_cpu.n_images, on_cpu.n_draws) == (3, N, N + 1)
    for ours, theirs in zip(arrays(on_device, 2), arrays(on_cpu, 2), strict=True):
        for a, b in zip(ours[:2], theirs[:2], strict=True):
            assert a is not None and b is not None and a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("augment", ["light", "medium", "strong"])
def test_content_of_padded_images_moves_as_on_the_cpu(augment: str) -> None:
    on_device, on_cpu = both(augment, boxes=padded_boxes())
    for ours, theirs in zip(arrays(on_device, 1), arrays(on_cpu, 1), strict=True):
        assert ours[2] is not None and theirs[2] is not None and ours[2].dtype == np.bool_
        assert np.mean(ours[2] != theirs[2]) < 0.002


def test_content_is_left_out_where_all_of_it_is_content() -> None:
    full = np.array([[0, 0, 32, 40]] * (2 * N + 2), np.int64)
    assert all(batch[2] is None for batch in arrays(both("light", boxes=full)[0], 1))
    assert any(batch[2] is not None for batch in arrays(both("medium", boxes=full)[0], 1))
    assert all(batch[2] is None for batch in arrays(both("medium")[0], 1))


@pytest.mark.parametrize("augment", ["light", "medium", "strong"])
def test_batch_size_has_no_influence(augment: str) -> None:
    """Each image is changed by its own draw; a blur may be rounded otherwise in another batch."""

    def epoch(size: int) -> tuple[NDArray[Any], NDArray[Any]]:
        batches = arrays(both(augment, size)[0], 2)
        images, masks = (np.concatenate([batch[k] for batch in batches]) for k in (0, 1))
        return images, masks

    images, masks = epoch(4)
    for size in (3, 6, 12):
        other_images, other_masks = epoch(size)
        differences = np.abs(images.astype(int) - other_images)
        assert differences.max() <= (1 if augment == "strong" else 0)
        assert (differences > 0).mean() < 0.001
        np.testing.assert_array_equal(masks, other_masks)


def test_epoch_continues_in_the_middle_and_differs_from_the_next() -> None:
    batches = both("strong")[0]
    whole, rest = arrays(batches, 3), arrays(both("strong")[0], 3, first=1)
    assert len(rest) == len(whole) - 1
    for a, b in zip(whole[1:], rest, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    assert not np.array_equal(whole[0][0], arrays(batches, 4)[0][0])


@pytest.mark.parametrize("augment", ["medium", "strong"])
def test_masks_hold_allowed_values_only(augment: str) -> None:
    for data, allowed in (
        (StudyDataConfig(), {0, 1}),
        (StudyDataConfig(task="multiclass"), {0, 1, IGNORE_INDEX}),
    ):
        batches = both(augment, data=data)[0]
        seen = {int(v) for n in range(1, 6) for b in arrays(batches, n) for v in np.unique(b[1])}
        assert seen == allowed
