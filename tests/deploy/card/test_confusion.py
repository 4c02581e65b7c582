"""Bounds of confusions hold for the true confusion matrix of random images."""

import numpy as np
import pytest

from harness.deploy.card.confusion import confusion_bounds
from harness.training.metrics.image_scores import ImageScores, ScoreEntry, scores_from_entries


def scores_of(matrices: list[np.ndarray]) -> ImageScores:
    """Scores of images with these confusion matrices [true, predicted]."""
    entries: list[ScoreEntry] = []
    for row, matrix in enumerate(matrices):
        for k in range(len(matrix)):
            tp = int(matrix[k, k])
            fn, fp = int(matrix[k].sum()) - tp, int(matrix[:, k].sum()) - tp
            tn = int(matrix.sum()) - tp - fn - fp
            entries.append((row, f"{row}.png", k, 0.0, 0.0, float(tp + fn), tp, fp, fn, tn))
    return scores_from_entries(entries)


@pytest.mark.parametrize("n_classes", [2, 3, 4, 6])
def test_bounds_contain_the_true_matrix(n_classes: int) -> None:
    rng = np.random.default_rng(n_classes)
    for _ in range(50):
        sparse = rng.random((5, n_classes, n_classes)) < 0.3
        matrices = list(rng.integers(0, 100, (5, n_classes, n_classes)) * sparse)
        least, greatest = confusion_bounds(scores_of(matrices), n_classes)
        true = sum(matrices) * (1 - np.eye(n_classes))
        assert (least <= true).all()
        assert (true <= greatest).all()


def test_two_classes_are_known_exactly() -> None:
    matrices = [np.array([[50, 7], [3, 40]]), np.array([[10, 0], [5, 85]])]
    least, greatest = confusion_bounds(scores_of(matrices), 2)
    np.testing.assert_array_equal(least, [[0, 7], [8, 0]])
    np.testing.assert_array_equal(greatest, least)


def test_images_whose_sums_do_not_match_say_nothing() -> None:
    scores = scores_from_entries([(0, "a", k, 0.0, 0.0, 9.0, 1, 5, 0, 1) for k in range(3)])
    least, greatest = confusion_bounds(scores, 3)
    assert not least.any()
    assert not greatest.any()


def test_incomplete_images_are_refused() -> None:
    scores = scores_of([np.eye(3, dtype=int)])
    with pytest.raises(ValueError, match="all classes of one image"):
        confusion_bounds(scores, 2)
