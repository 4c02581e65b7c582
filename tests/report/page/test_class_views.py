from pathlib import Path

import numpy as np
import pytest

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.report.page.class_views import build_class_view
from harness.report.predictions.class_pixels import count_class_pixels
from harness.report.predictions.gallery import PredictionGallery
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder

CLASSES = ("background", "disc", "bar")


def data_of(task: str) -> dict[str, object]:
    return {"root": "tiny", "task": task, "classes": list(CLASSES), "eval_size": 32}


def test_pixels_are_counted_by_true_and_predicted_class() -> None:
    """Six pixels, one ignored: of three discs one is called bar; the bar is called background."""
    truth = np.array([[0, 1, 1], [1, 2, IGNORE_INDEX]], np.uint8)
    decision = np.array([[0, 1, 1], [2, 0, 1]], np.uint8)
    data = StudyDataConfig.model_validate(data_of("multiclass") | {"classes": CLASSES})
    pixels = count_class_pixels(truth, decision, data)
    assert pixels.n_pixels == 5
    assert pixels.confusion is not None
    assert pixels.confusion.tolist() == [[1, 0, 0], [0, 2, 1], [1, 0, 0]]
    both = pixels + pixels
    assert both.truth.tolist() == [2, 6, 2] and both.predicted.tolist() == [4, 4, 2]


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_shares_and_the_most_confused_pair(tmp_path: Path, task: str) -> None:
    tables = load_study_tables(Builder(tmp_path, config={"data": data_of(task)}).paths)
    truth = np.array([[0, 1, 1, 1], [1, 2, 2, 0]], np.uint8)
    decision = np.array([[0, 1, 1, 2], [1, 0, 2, 0]], np.uint8)
    if task == "multilabel":
        truth, decision = (
            np.stack([labels == k for k in range(3)], axis=2).astype(np.uint8)
            for labels in (truth, decision)
        )
    pixels = count_class_pixels(truth, decision, tables.config.data)
    gallery = PredictionGallery((), (), n_compared=1, weights="trial 3", class_pixels=pixels)
    view = build_class_view(tables, gallery)
    assert view is not None
    assert [(row.name, row.truth, row.predicted) for row in view.shares] == [
        ("background", 25.0, 37.5),
        ("disc", 50.0, 37.5),
        ("bar", 25.0, 25.0),
    ]
    assert view.shares[0].colour == "#000000" and "by trial 3" in view.note
    if task == "multilabel":
        assert view.names == () and view.sentence.startswith("Largest difference: ")
        return
    assert view.names == CLASSES
    assert view.matrix == ((100.0, 0.0, 0.0), (0.0, 75.0, 25.0), (50.0, 0.0, 50.0))
    assert view.sentence == (
        "Most confused: 50.0% of the pixels of bar are predicted as background."
    )


def test_two_classes_have_no_matrix(tmp_path: Path) -> None:
    tables = load_study_tables(Builder(tmp_path).paths)
    assert build_class_view(tables, PredictionGallery((), ())) is None
