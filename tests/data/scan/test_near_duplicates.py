import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core.union_find import DisjointSet
from harness.data.scan import duplicate_index, near_duplicates
from harness.data.scan.near_duplicates import (
    DuplicatePair,
    find_duplicates,
    group_duplicates,
    thumbnail,
)
from tests.data.make import Array8, picture


def copies(images: list[Array8] | list[NDArray[np.uint16]]) -> list[DuplicatePair]:
    return find_duplicates([i.tobytes() for i in images], [thumbnail(i) for i in images])


def groups(images: list[Array8]) -> list[int]:
    return group_duplicates([i.tobytes() for i in images], [thumbnail(i) for i in images])


def frame(seed: int) -> Array8:
    """A smooth picture from black to white, as large as a frame of a video."""
    large = cv2.resize(picture(seed, 12, 16), (320, 240), interpolation=cv2.INTER_CUBIC)
    return cv2.normalize(large, None, 0, 255, cv2.NORM_MINMAX)


def test_different_pictures_stay_alone() -> None:
    assert groups([frame(seed) for seed in range(30)]) == list(range(30))


def test_equal_pixels_belong_to_the_first() -> None:
    assert groups([frame(0), frame(1), frame(0), frame(1), frame(2)]) == [0, 1, 0, 1, 4]


def test_another_encoding_is_the_same_picture() -> None:
    data = cv2.imencode(".jpg", frame(0), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    assert groups([frame(1), frame(0), cv2.imdecode(data, cv2.IMREAD_COLOR)]) == [0, 1, 1]


def test_another_clock_on_a_frozen_frame_is_the_same_picture() -> None:
    first, second = frame(0), frame(0)
    for image, text in ((first, "08:33"), (second, "09:17")):
        cv2.putText(image, text, (5, 30), cv2.FONT_HERSHEY_PLAIN, 1.2, (255, 255, 255), 1)
    assert (first != second).any()
    assert groups([frame(3), first, second]) == [0, 1, 1]


def test_a_moved_camera_is_another_picture() -> None:
    assert groups([frame(0), np.roll(frame(0), 16, axis=1)]) == [0, 1]


def test_chains_join_into_one_group() -> None:
    """2 equals 0 by pixels, and 3 equals 2 but for encoding."""
    data = cv2.imencode(".jpg", frame(0), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    again = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert groups([again, frame(1), frame(0), again.copy(), frame(0)]) == [0, 1, 0, 0, 0]


def test_pictures_of_one_colour_are_the_same_only_with_equal_pixels() -> None:
    black, grey = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 90, np.uint8)
    assert groups([black, grey, black]) == [0, 1, 0]
    noisy = [np.full((64, 64, 3), 90, np.uint8) for _ in range(2)]
    noisy[0][5, 5] = noisy[1][5, 6] = 93
    assert groups([grey, *noisy]) == [0, 1, 2]
    assert groups([]) == []


@pytest.mark.parametrize("turn", range(8))
def test_mirrored_and_turned_pictures_are_near_copies(turn: int) -> None:
    """Four quarter turns, each also mirrored: all ways to lay a picture down."""
    turned = np.rot90(frame(0)[:, ::-1] if turn >= 4 else frame(0), turn)
    kind = "near" if turn else "exact"
    assert copies([frame(1), frame(0), np.ascontiguousarray(turned)]) == [DuplicatePair(1, 2, kind)]


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.3, 1.5])
def test_another_size_is_a_near_copy(scale: float) -> None:
    resized = cv2.resize(frame(0), None, fx=scale, fy=scale)
    assert copies([frame(0), resized]) == [DuplicatePair(0, 1, "near")]


@pytest.mark.parametrize("channels", [1, 4, 7])
def test_images_of_other_channels_and_depth_are_compared(channels: int) -> None:
    """As microscopes give: 12 bits in 16, any number of stains."""
    grey = [frame(seed).mean(axis=2) for seed in range(3)]
    deep = [np.dstack([g * 16] * channels).astype(np.uint16) for g in grey]
    brighter = deep[1] + np.uint16(9)
    assert copies([*deep, brighter]) == [DuplicatePair(1, 3, "near")]
    whole = thumbnail(deep[0]).reshape(48, 48)
    mean = cv2.resize(deep[0].astype(np.float32).mean(axis=2), (48, 48), interpolation=3)
    assert np.abs(whole - (mean - mean.mean())).max() < 2  # of 4096 levels


def test_each_copy_is_named_once_and_exact_before_near() -> None:
    same = frame(0)
    mirrored = np.ascontiguousarray(same[:, ::-1])
    images = [same, frame(1), same.copy(), mirrored, mirrored.copy(), same.copy()]
    assert copies(images) == [
        DuplicatePair(0, 2, "exact"),
        DuplicatePair(0, 3, "near"),
        DuplicatePair(0, 5, "exact"),
        DuplicatePair(3, 4, "exact"),
    ]


def test_joined_groups_are_led_by_their_lowest() -> None:
    union = DisjointSet(6)
    for pair in ((5, 3), (4, 1), (3, 4)):
        union.union(*pair)
    assert union.representatives() == [0, 1, 2, 1, 1, 1]


def speckled(seed: int) -> Array8:
    """A picture of four to eight coarse cells, as different from others as photographs are."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (int(rng.integers(4, 9)), int(rng.integers(4, 9)), 3), np.uint8)
    return cv2.resize(cells, (64, 64), interpolation=cv2.INTER_CUBIC)


def variants(image: Array8) -> list[Array8]:
    """Copies as people make them: resized, compressed, brighter, of more contrast, mirrored."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
    return [
        cv2.resize(image, (90, 90)),
        cv2.imdecode(data, cv2.IMREAD_COLOR),
        np.clip(image.astype(int) + 8, 0, 255).astype(np.uint8),
        np.clip(image * 1.05, 0, 255).astype(np.uint8),
        np.ascontiguousarray(np.rot90(image)),
    ]


def test_index_of_many_images_finds_the_pairs_that_comparing_all_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = [speckled(seed) for seed in range(300)]
    images += [copy for seed in range(0, 100, 5) for copy in variants(images[seed])]
    images += [np.full((32, 32, 3), level, np.uint8) for level in range(40)]
    thumbnails = [thumbnail(image) for image in images]
    hashes = [image.tobytes() for image in images]
    compared = group_duplicates(hashes, thumbnails)
    assert compared[300:400] == [seed for seed in range(0, 100, 5) for _ in range(5)]
    monkeypatch.setattr(near_duplicates, "_MAX_COMPARED", 10)
    monkeypatch.setattr(duplicate_index, "_BLOCK", 64)
    assert group_duplicates(hashes, thumbnails) == compared


def test_index_links_more_copies_than_it_has_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of a still camera, which differ by their noise alone."""
    monkeypatch.setattr(near_duplicates, "_MAX_COMPARED", 10)
    rng = np.random.default_rng(0)
    still = speckled(1)
    frames = [
        np.clip(still + rng.normal(0, 3, still.shape), 0, 255).astype(np.uint8) for _ in range(150)
    ]
    assert groups([speckled(2), *frames]) == [0, *[1] * 150]


def test_index_of_images_of_one_colour_finds_nothing() -> None:
    flat = np.zeros((50, 16, 16), np.float32)
    assert not list(duplicate_index.indexed_pairs(flat, near_duplicates.TURNS, 0.98))
