import random

import numpy as np
import pytest

from harness.config.data import StudyDataConfig
from harness.config.study import AUGMENT_PRESETS
from harness.core.errors import ConfigError
from harness.data.loading.augment import PRESETS, build_augmentation
from tests.data.make import picture, square


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_types_shapes_and_two_values_stay(name: str, size: tuple[int, int]) -> None:
    augment = build_augmentation(name)
    seen = set()
    for seed in range(40):
        image, mask = augment(picture(seed, *size), square(*size), seed)
        assert image.shape == (*size, 3) and mask.shape == size
        assert image.dtype == mask.dtype == np.uint8
        seen |= set(np.unique(mask))
    assert seen == {0, 1}


@pytest.mark.parametrize("name", ["light", "medium", "strong"])
def test_same_seed_same_change_whatever_came_before(name: str) -> None:
    once, again = build_augmentation(name), build_augmentation(name)
    again(picture(9), square(), 99)
    random.seed(1)
    np.random.seed(1)
    for seed in range(10):
        first, second = once(picture(0), square(), seed), again(picture(0), square(), seed)
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("name", ["light", "medium", "strong"])
def test_other_seeds_change_otherwise(name: str) -> None:
    augment = build_augmentation(name)
    changed = {augment(picture(0), square(), seed)[0].tobytes() for seed in range(20)}
    assert len(changed) >= 10


def test_steps_decide_independently() -> None:
    """A random picture shows which way it was flipped: each of the four ways a quarter of 400."""
    image = np.random.default_rng(0).integers(60, 180, (8, 8, 3)).astype(np.uint8)
    augment = build_augmentation("light")
    ways = {(a, b): image[::a, ::b].astype(float) for a in (1, -1) for b in (1, -1)}
    counts = dict.fromkeys(ways, 0)
    for seed in range(400):
        changed = augment(image, np.zeros((8, 8), np.uint8), seed)[0].ravel()
        counts[max(ways, key=lambda way: np.corrcoef(ways[way].ravel(), changed)[0, 1])] += 1
    assert all(70 <= count <= 130 for count in counts.values()), counts


def test_none_changes_nothing() -> None:
    image, mask = picture(0), square()
    changed = build_augmentation("none")(image, mask, 5)
    np.testing.assert_array_equal(changed[0], image)
    np.testing.assert_array_equal(changed[1], mask)


def test_image_and_mask_move_together() -> None:
    """The image is the mask in grey: wherever it was moved, both still agree."""
    mask = square(32, 32)
    image = np.dstack([255 * mask] * 3)
    augment = build_augmentation("light")
    for seed in range(20):
        moved, moved_mask = augment(image, mask, seed)
        np.testing.assert_array_equal(moved[:, :, 0] > 127, moved_mask == 1)


def test_stronger_presets_change_more() -> None:
    def change(name: str) -> float:
        augment = build_augmentation(name)
        pairs = [(augment(picture(0, 64, 64), square(64, 64), s)[0]) for s in range(60)]
        flips = [p[::a, ::b] for p in [picture(0, 64, 64)] for a in (1, -1) for b in (1, -1)]
        distances = [min(np.abs(p - f.astype(float)).mean() for f in flips) for p in pairs]
        return float(np.mean(distances))

    none, light, medium, strong = (change(name) for name in PRESETS)
    assert none == 0 < light < medium < strong


def test_presets_are_those_of_the_configuration() -> None:
    assert tuple(PRESETS) == AUGMENT_PRESETS


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no preset and no file 'ligt'; did you mean light\?"):
        build_augmentation("ligt")


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9])
def test_light_takes_any_number_of_channels_at_8_and_16_bits(channels: int) -> None:
    augment = build_augmentation("light", data=StudyDataConfig(channels=channels))
    image = np.random.default_rng(0).random((24, 20, channels)).astype(np.float32)
    planes = np.stack([square(24, 20)] * 3, axis=2)
    for seed in range(10):
        for one in (image, (255 * image).astype(np.uint8)):
            changed, moved = augment(one, planes, seed)
            assert changed.shape == one.shape and changed.dtype == one.dtype
            assert moved.shape == planes.shape and set(np.unique(moved)) == {0, 1}
            assert one.dtype == np.uint8 or 0 <= changed.min() <= changed.max() <= 1


@pytest.mark.parametrize("name", ["medium", "strong"])
def test_what_comes_in_from_outside_is_void_where_there_is_void(name: str) -> None:
    augment = build_augmentation(name, data=StudyDataConfig(task="multiclass"))
    full = np.ones((32, 32), np.uint8)
    seen = {int(v) for s in range(30) for v in np.unique(augment(picture(0, 32, 32), full, s)[1])}
    assert seen == {1, 255}
