"""Masks from probabilities, against scipy.ndimage and by hand."""

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.data.files import object_labels
from harness.data.files.decide import (
    DecisionPlanes,
    clean_plane,
    decide_mask,
    fill_holes,
    label_objects,
)

EIGHT = np.ones((3, 3), np.bool_)
Bools = NDArray[np.bool_]


@pytest.fixture(autouse=True, params=[1 << 22, 64], ids=["whole", "bands"])
def _band_pixels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planes are labelled as a whole, and in bands of few rows."""
    monkeypatch.setattr(object_labels, "BAND_PIXELS", request.param)


def random_planes(n: int) -> list[Bools]:
    """Planes from nearly empty to nearly full, of sizes from 1 x 1 on."""
    rng = np.random.default_rng(7)
    planes = []
    for _ in range(n):
        height, width = rng.integers(1, 40, 2)
        planes.append(rng.random((height, width)) < rng.uniform(0.02, 0.95))
    return planes


PLANES = random_planes(300)


def objects_of_scipy(plane: Bools) -> list[Bools]:
    labels, n = ndimage.label(plane, EIGHT)
    return [labels == k for k in range(1, n + 1)]


def test_holes_are_those_of_scipy() -> None:
    for plane in PLANES:
        assert np.array_equal(fill_holes(plane), ndimage.binary_fill_holes(plane))


@pytest.mark.parametrize("size", [2, 5, 30])
def test_small_objects_are_those_of_scipy(size: int) -> None:
    entry = ClassDecision(threshold=0.5, min_size=size)
    for plane in PLANES:
        kept = [one for one in objects_of_scipy(plane) if one.sum() >= size]
        expected = np.any([np.zeros_like(plane), *kept], axis=0)
        assert np.array_equal(clean_plane(plane, entry), expected)


def test_the_largest_object_is_one_of_scipys_largest() -> None:
    entry = ClassDecision(threshold=0.5, largest_only=True)
    for plane in PLANES:
        cleaned, objects = clean_plane(plane, entry), objects_of_scipy(plane)
        if not objects:
            assert not cleaned.any()
            continue
        size = max(one.sum() for one in objects)
        assert any(np.array_equal(cleaned, one) for one in objects if one.sum() == size)


def test_holes_come_before_sizes_and_sizes_before_the_largest() -> None:
    for plane in PLANES:
        filled = ndimage.binary_fill_holes(plane)
        objects = [one for one in objects_of_scipy(filled) if one.sum() >= 9]
        entry = ClassDecision(threshold=0.5, fill_holes=True, min_size=9, largest_only=True)
        cleaned = clean_plane(plane, entry)
        assert cleaned.sum() == max((one.sum() for one in objects), default=0)
        assert not cleaned.any() or any(np.array_equal(cleaned, one) for one in objects)


@pytest.mark.parametrize("size", [0, 1])
def test_without_steps_nothing_changes(size: int) -> None:
    entry = ClassDecision(threshold=0.5, min_size=size)
    for plane in PLANES[:20]:
        assert np.array_equal(clean_plane(plane, entry), plane)


def test_each_class_of_a_multilabel_task_has_its_own_rule() -> None:
    rng = np.random.default_rng(3)
    p = rng.random((2, 30, 30)).astype(np.float32)
    entries = (ClassDecision(threshold=0.3, fill_holes=True), ClassDecision(threshold=0.8))
    mask = decide_mask(p, DecisionRule(task="multilabel", classes=entries))
    assert mask.shape == (30, 30, 2)
    assert np.array_equal(mask[..., 0] == 1, ndimage.binary_fill_holes(p[0] >= 0.3))
    assert np.array_equal(mask[..., 1] == 1, p[1] >= 0.8)


def test_a_removed_pixel_of_a_multiclass_task_gets_the_next_class() -> None:
    """A slow loop over pixels, with ties, against the masks of the rule."""
    rng = np.random.default_rng(4)
    entries = (
        ClassDecision(),
        ClassDecision(min_size=6),
        ClassDecision(largest_only=True),
    )
    for _ in range(30):
        p = (rng.integers(0, 5, (3, 12, 15)) / 4).astype(np.float32)
        labels = p.argmax(axis=0)
        expected = labels.copy()
        for index, entry in enumerate(entries):
            removed = (labels == index) & ~clean_plane(labels == index, entry)
            for y, x in np.argwhere(removed):
                others = [k for k in range(3) if k != index]
                expected[y, x] = max(others, key=lambda k: (p[k, y, x], -k))
        rule = DecisionRule(task="multiclass", classes=entries)
        assert np.array_equal(decide_mask(p, rule), expected)


def test_a_rule_of_other_classes_is_refused() -> None:
    rule = DecisionRule(task="binary", classes=(ClassDecision(threshold=0.5),))
    with pytest.raises(ValueError, match="2 planes of probabilities, but 1 rules"):
        decide_mask(np.zeros((2, 3, 3), np.float32), rule)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_bands_of_probabilities_give_the_mask_of_all(task: Literal["binary"]) -> None:
    rng = np.random.default_rng(5)
    n = 1 if task == "binary" else 3
    p = (rng.integers(0, 9, (n, 50, 33)) / 8).astype(np.float32)
    entries = tuple(ClassDecision(min_size=5 * k, largest_only=k == 2) for k in range(n))
    rule = DecisionRule(task=task, classes=entries)
    planes = DecisionPlanes(rule, (50, 33))
    for top, bottom in ((0, 7), (7, 8), (8, 39), (39, 50)):
        planes.add(top, p[:, top:bottom])
    assert np.array_equal(planes.mask(), decide_mask(p, rule))
    plain = DecisionRule(task=task, classes=(ClassDecision(),) * n)
    assert np.array_equal(planes.mask(plain), decide_mask(p, plain))


def test_objects_have_the_numbers_and_areas_of_the_whole_plane() -> None:
    for plane in PLANES:
        expected_labels, expected_areas = label_objects(plane)
        of_label, areas = object_labels.object_numbers(plane)
        assert areas[1:].tolist() == expected_areas[1:].tolist()
        labels = object_labels.ObjectLabels()
        bands = [labels.add(plane[rows]) for rows in object_labels.plane_bands(*plane.shape)]
        assert np.array_equal(of_label[np.concatenate(bands)], expected_labels)
        assert len(of_label) == labels.n_labels
