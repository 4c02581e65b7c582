"""Black borders and burnt-in things, on drawn scenes."""

import cv2
import numpy as np
import pytest

from harness.data.scan.image_artifacts import black_border, burnt_in_panels, burnt_in_text
from tests.data.make import Array8


def scene(height: int = 240, width: int = 320) -> Array8:
    """Smooth mucosa with highlights, without anything burnt in."""
    rng = np.random.default_rng(5)
    low = rng.integers(60, 160, (8, 10, 3), np.uint8)
    image = cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC)
    image[:, :, 0] = 180
    for x, y in rng.integers(20, 220, (40, 2)):
        cv2.circle(image, (int(x), int(y)), 2, (255, 250, 245), -1)
    return np.asarray(image, np.uint8)


def test_border_is_measured_on_each_side() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    image[10:-20, 30:-40] = scene(210, 250)
    image[3, 5] = 255  # a speck
    assert black_border(image) == (10, 40, 20, 30)


def test_round_field_of_view_has_a_border_up_to_its_circle() -> None:
    mask = cv2.circle(np.zeros((240, 320), np.uint8), (160, 120), 100, 1, -1)
    top, right, bottom, left = black_border(scene() * mask[:, :, None])
    assert 20 <= top <= 22 and 19 <= bottom <= 22
    assert 60 <= left <= 62 and 59 <= right <= 62


def test_dark_ground_is_no_border() -> None:
    nuclei = np.full((200, 200, 3), 8, np.uint8)
    for x in (60, 100, 140):
        cv2.circle(nuclei, (x, 100), 12, (200, 200, 200), -1)
    assert black_border(nuclei) == (0, 0, 0, 0)
    nuclei[40:160:6, 40:160] = 200  # dense, and beginning abruptly
    nuclei[40:160, 40:160:6] = 200
    assert black_border(nuclei) == (0, 0, 0, 0)
    assert black_border(np.zeros((20, 20, 3), np.uint8)) == (0, 0, 0, 0)


def test_scene_alone_is_not_suspected() -> None:
    assert burnt_in_text(scene()) == ()
    assert burnt_in_panels(scene()) == ()


def test_text_at_the_left_is_found() -> None:
    image = np.repeat(np.repeat(scene(), 2, axis=0), 2, axis=1)
    cv2.putText(image, "11/10/2012", (12, 60), cv2.FONT_HERSHEY_PLAIN, 1, (255, 255, 255), 1)
    (box,) = burnt_in_text(image)
    top, left, high, wide = box
    assert 45 <= top <= 52 and 10 <= left <= 16
    assert 58 <= top + high <= 64 and wide >= 40


@pytest.mark.parametrize("corner", ["top left", "bottom left", "bottom right"])
def test_dark_panel_in_a_corner_is_found(corner: str) -> None:
    image = scene()
    rows = slice(0, 60) if "top" in corner else slice(180, 240)
    columns = slice(0, 90) if "left" in corner else slice(230, 320)
    image[rows, columns] = 0
    (box,) = burnt_in_panels(image)
    assert np.allclose(box, (rows.start, columns.start, 60, 90), atol=3)


def test_dark_triangles_are_no_panels() -> None:
    image = scene()
    for corner in ([0, 0], [319, 0], [0, 239], [319, 239]):
        x, y = corner
        points = np.array([corner, [abs(x - 90), y], [x, abs(y - 90)]])
        cv2.fillPoly(image, [points], (0, 0, 0))
    assert burnt_in_panels(image) == ()


def test_green_panel_is_found() -> None:
    image = scene()
    image[170:230, 10:90] = (20, 160, 130)
    (box,) = burnt_in_panels(image)
    assert np.allclose(box, (170, 10, 60, 80), atol=4)
