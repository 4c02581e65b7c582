import itertools
from collections.abc import Iterable

import cv2
import numpy as np
import pytest

from harness.config.data import IGNORE_INDEX
from harness.data.files.overlay import (
    CLASS_COLOURS,
    COLOURS,
    VOID_COLOUR,
    as_rgb,
    background_classes,
    draw_class_map,
    draw_class_overlay,
    draw_overlay,
    wrong_pixels,
)

# How dichromats see linear RGB: Machado, Oliveira and Fernandes 2009, severity 1.
BLINDNESS = {
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth, prediction = np.zeros((2, 40, 60), np.uint8)
    truth[5:25, 5:35] = 1
    prediction[5:25, 20:55] = 1
    return np.full((40, 60, 3), 100, np.uint8), truth, prediction


def test_regions_have_their_colour_inside_and_on_the_contour() -> None:
    """Inside: 0.55 of the image's 100 and 0.45 of the colour. On the contour: the colour."""
    drawn = draw_overlay(*scene())
    for name, row, column, edge in (
        ("miss", 15, 12, (15, 5)),
        ("hit", 15, 27, (5, 27)),
        ("false alarm", 15, 45, (24, 45)),
    ):
        colour = np.array(COLOURS[name])
        np.testing.assert_allclose(drawn[row, column], 0.55 * 100 + 0.45 * colour, atol=0.51)
        np.testing.assert_array_equal(drawn[edge], colour)
    assert drawn.dtype == np.uint8


def test_the_rest_of_the_image_is_untouched() -> None:
    image, truth, prediction = scene()
    outside = (truth + prediction) == 0
    np.testing.assert_array_equal(draw_overlay(image, truth, prediction)[outside], image[outside])
    assert (image == 100).all()


def test_sizes_must_agree() -> None:
    image, truth, prediction = scene()
    with pytest.raises(ValueError, match="sizes differ"):
        draw_overlay(image, truth, prediction[:-1])


def lab_of(colours: Iterable[tuple[int, int, int]], sight: str) -> np.ndarray:
    """Colours as they are seen, (n, 3) in CIE 1976 Lab."""
    coded = np.array(list(colours), np.float64)[None] / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLINDNESS.get(sight, np.eye(3))).T, 0, 1)
    coded = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    return np.asarray(cv2.cvtColor(coded.astype(np.float32), cv2.COLOR_RGB2Lab)[0])


@pytest.mark.parametrize("name", BLINDNESS)
def test_colours_stay_apart_for_the_colour_blind(name: str) -> None:
    """CIE 1976 colour difference of each pair above 25; below 3 nobody sees it, 10 is plain."""
    lab = lab_of(COLOURS.values(), name)
    differences = [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(lab, 2)]
    assert len(differences) == 3 and min(differences) > 25


def test_void_is_grey_and_neither_right_nor_wrong() -> None:
    image, truth, prediction = scene()
    truth[:, 15:45] = IGNORE_INDEX
    drawn = draw_overlay(image, truth, prediction)
    void = truth == IGNORE_INDEX
    expected = 0.55 * 100 + 0.45 * np.array(VOID_COLOUR)
    np.testing.assert_allclose(drawn[20, 30], expected, atol=0.51)
    np.testing.assert_array_equal(drawn[20, 15], VOID_COLOUR)
    apart = draw_overlay(image, truth * ~void, prediction)
    away = np.r_[0:14, 46:60]  # further from void than a contour is wide
    np.testing.assert_array_equal(drawn[:, away], apart[:, away])


def test_classes_have_their_colours_and_contours() -> None:
    """Class 0 is left alone, class 2 inside its contour mixed with the image, VOID grey."""
    labels = np.zeros((40, 60), np.uint8)
    labels[5:25, 5:35] = 2
    labels[30:, :] = IGNORE_INDEX
    image = np.full((40, 60, 3), 100, np.uint8)
    drawn = draw_class_overlay(image, labels, plain={0})
    colour = np.array(CLASS_COLOURS[2])
    np.testing.assert_allclose(drawn[15, 20], 0.55 * 100 + 0.45 * colour, atol=0.51)
    np.testing.assert_array_equal(drawn[5, 20], colour)
    np.testing.assert_array_equal(drawn[labels == 0], image[labels == 0])
    np.testing.assert_array_equal(drawn[30, 20], VOID_COLOUR)
    assert (draw_class_overlay(image, labels)[0, 0] != 100).any(), (
        "class 0 is painted unless it is plain"
    )


def test_wrong_pixels_are_hatched_in_black_and_white_alone() -> None:
    labels = np.ones((40, 60), np.uint8)
    wrong = np.zeros((40, 60), bool)
    wrong[10:30, 10:40] = True
    image = np.full((40, 60, 3), 100, np.uint8)
    plain, drawn = draw_class_overlay(image, labels), draw_class_overlay(image, labels, wrong=wrong)
    np.testing.assert_array_equal(drawn[~wrong], plain[~wrong])
    changed = (drawn != plain).any(axis=2)
    assert 0.25 < changed[wrong].mean() < 0.4, "a third is stripes, the class shows between"
    assert {tuple(pixel) for pixel in drawn[changed].tolist()} == {(0, 0, 0), (255, 255, 255)}


def test_planes_that_overlap_are_mixed() -> None:
    planes = np.zeros((8, 8, 3), np.uint8)
    planes[:, :4, 0] = 1
    planes[:4, :, 2] = 1
    drawn = draw_class_map(planes)
    first, third = (np.array(CLASS_COLOURS[k], float) for k in (0, 2))
    np.testing.assert_array_equal(drawn[7, 0], first)
    np.testing.assert_array_equal(drawn[0, 7], third)
    np.testing.assert_allclose(drawn[0, 0], (first + third) / 2, atol=0.51)
    assert not drawn[7, 7].any()


def test_wrong_is_where_any_plane_differs_and_the_truth_counts() -> None:
    truth = np.array([[0, 1, 2, IGNORE_INDEX]], np.uint8)
    assert wrong_pixels(truth, np.array([[0, 2, 2, 1]], np.uint8)).tolist() == [[0, 1, 0, 0]]
    planes = np.array([[[0, 1], [1, 1], [IGNORE_INDEX, 0]]], np.uint8)
    said = np.array([[[0, 1], [0, 1], [1, 0]]], np.uint8)
    assert wrong_pixels(planes, said).tolist() == [[False, True, False]]


def test_only_a_background_is_left_unpainted() -> None:
    assert background_classes(("Background", "road", "background noise")) == {0}


def test_images_of_other_kinds_become_pictures() -> None:
    deep = np.array([[[0, 1000, 2000, 7], [4000, 5000, 3000, 7]]], np.uint16)
    assert as_rgb(deep, (1000.0, 3000.0)).tolist() == [[[0, 0, 128], [255, 255, 255]]]
    grey = np.array([[[7, 1], [9, 2]]], np.uint8)
    assert as_rgb(grey, (0.0, 255.0)).tolist() == [[[7, 7, 7], [9, 9, 9]]]
    colours = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.array_equal(as_rgb(colours, (0.0, 255.0)), colours)


def test_class_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="sizes differ"):
        draw_class_overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8))


@pytest.mark.parametrize(("n", "least"), [(7, 15), (20, 15), (255, 3)])
@pytest.mark.parametrize("name", ["normal", *BLINDNESS])
def test_class_colours_stay_apart(name: str, n: int, least: float) -> None:
    seen = lab_of(CLASS_COLOURS[:n], name)
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=2) + 1000 * np.eye(n)
    assert len(CLASS_COLOURS) == 255 and apart.min() > least
