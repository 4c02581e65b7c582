import itertools

import cv2
import numpy as np
import pytest

from harness.data.overlay import COLOURS, overlay

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
    drawn = overlay(*scene())
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
    np.testing.assert_array_equal(overlay(image, truth, prediction)[outside], image[outside])
    assert (image == 100).all()


def test_sizes_must_agree() -> None:
    image, truth, prediction = scene()
    with pytest.raises(ValueError, match="sizes differ"):
        overlay(image, truth, prediction[:-1])


@pytest.mark.parametrize("name", BLINDNESS)
def test_colours_stay_apart_for_the_colour_blind(name: str) -> None:
    """CIE 1976 colour difference of each pair above 25; below 3 nobody sees it, 10 is plain."""
    colours = np.array(list(COLOURS.values()), np.float64)[None] / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLINDNESS[name]).T, 0, 1)
    coded = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = cv2.cvtColor(coded.astype(np.float32), cv2.COLOR_RGB2Lab)[0]
    differences = [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(lab, 2)]
    assert len(differences) == 3 and min(differences) > 25
