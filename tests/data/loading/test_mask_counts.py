"""Counts of the pixels of training masks against those of numpy on whole masks."""

import numpy as np
import pytest

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.data.loading import mask_counts as module
from harness.data.loading.image_cache import ImageCache
from harness.data.loading.mask_counts import count_cached_masks, count_native_masks
from harness.data.windows.window import DecodedImages

SHAPES = ((7, 5), (3, 12), (1, 1))


def decoded(masks: list[np.ndarray]) -> DecodedImages:
    return DecodedImages([np.zeros((*mask.shape[:2], 3), np.uint8) for mask in masks], masks)


def test_masks_that_are_read_in_parts_have_the_counts_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SIDE", 4)
    random = np.random.default_rng(0)
    masks = [random.choice([0, 1, 2, IGNORE_INDEX], shape).astype(np.uint8) for shape in SHAPES]
    counts = count_native_masks(decoded(masks), [2, 0, 1], 3)
    chosen = [masks[k] for k in (2, 0, 1)]
    assert counts.class_pixels.tolist() == [[(m == k).sum() for k in range(3)] for m in chosen]
    assert counts.valid_pixels.tolist() == [[(m != IGNORE_INDEX).sum()] * 3 for m in chosen]


def test_planes_are_counted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SIDE", 4)
    random = np.random.default_rng(0)
    masks = [random.choice([0, 1, IGNORE_INDEX], (*s, 2)).astype(np.uint8) for s in SHAPES]
    counts = count_native_masks(decoded(masks), range(3), 2)
    assert counts.class_pixels.tolist() == [(m == 1).sum((0, 1)).tolist() for m in masks]
    valid = [(m != IGNORE_INDEX).sum((0, 1)).tolist() for m in masks]
    assert counts.valid_pixels.tolist() == valid


def test_padding_of_cached_masks_does_not_count() -> None:
    """Of 4 x 4 pixels the upper 2 x 3 are the image: 2 of them class 1, 4 class 0."""
    masks = np.zeros((1, 4, 4), np.uint8)
    masks[0, 0, :2] = 1
    cache = ImageCache(
        images=masks,
        masks=masks,
        boxes=np.array([[0, 0, 2, 3]]),
        truths=masks,
        row_of=np.arange(1),
        train=np.arange(1),
        val=np.arange(0),
        data=StudyDataConfig(),
    )
    counts = count_cached_masks(cache, cache.train)
    assert counts.class_pixels.tolist() == [[4, 2]]
    assert counts.valid_pixels.tolist() == [[6, 6]]


def test_no_masks_have_empty_counts() -> None:
    assert count_native_masks(decoded([]), [], 3).class_pixels.shape == (0, 3)
