"""Objects of two masks matched one to one: by hand, and against a slow version."""

import cv2
import numpy as np
import pytest

from harness.data.files.object_matches import BandMatches, TrueObjects, f1_of_counts


def test_counts_by_hand() -> None:
    """Found: a square moved by a row (IoU 12 / 20); missed: one half covered; wrong: one alone."""
    truth, predicted = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    truth[2:6, 2:6], predicted[3:7, 2:6] = True, True
    truth[2:6, 12:16], predicted[2:4, 12:16] = True, True  # IoU 0.5 is not above 0.5
    predicted[12:14, 2:4] = True
    matches = TrueObjects(truth).match(predicted)
    assert matches.counts.tolist() == [1, 2, 1]
    assert matches.true_areas.tolist() == [16, 16]
    assert matches.is_found.tolist() == [True, False]
    assert f1_of_counts(matches.counts) == pytest.approx(2 / 5)


def test_ignored_pixels_are_in_no_object() -> None:
    truth, predicted = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    truth[:, :2], predicted[:, 6:] = True, True
    counted = np.zeros((8, 8), bool)
    assert TrueObjects(truth, counted).match(predicted).counts.tolist() == [0, 0, 0]
    assert f1_of_counts(np.zeros(3, np.int64)) is None


@pytest.mark.parametrize("seed", range(8))
def test_matches_are_those_of_every_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = cv2.GaussianBlur(rng.random((70, 90)), (0, 0), 2) > 0.52
    predicted = cv2.GaussianBlur(truth + 0.5 * rng.random(truth.shape), (0, 0), 1.2) > 0.75
    objects = []
    for plane in (truth, predicted):
        n, labels = cv2.connectedComponents(plane.astype(np.uint8), connectivity=8)
        objects.append([labels == k for k in range(1, n)])
    n_found = sum((a & b).sum() / (a | b).sum() > 0.5 for a in objects[0] for b in objects[1])
    matches = TrueObjects(truth).match(predicted)
    assert n_found == matches.is_found.sum() == matches.is_correct.sum() > 0
    assert (len(matches.is_found), len(matches.is_correct)) == (len(objects[0]), len(objects[1]))


@pytest.mark.parametrize("seed", range(8))
def test_bands_have_the_matches_of_the_whole_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = cv2.GaussianBlur(rng.random((70, 90)), (0, 0), 2) > 0.5
    predicted = cv2.GaussianBlur(truth + 0.5 * rng.random(truth.shape), (0, 0), 1.2) > 0.75
    expected = TrueObjects(truth).match(predicted)
    bands = BandMatches()
    for rows in np.split(np.arange(70), [1, 20, 38]):
        bands.add(truth[rows], predicted[rows])
    matches = bands.matches()
    for areas, hits in (("true_areas", "is_found"), ("predicted_areas", "is_correct")):
        found, wanted = (
            sorted(zip(getattr(m, areas).tolist(), getattr(m, hits).tolist(), strict=True))
            for m in (matches, expected)
        )
        assert found == wanted
    assert matches.is_found.any() and not matches.is_found.all()
