"""Rows of predictions.csv: what a mask contains, as numbers."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core.text import quote_formula
from harness.deploy.prediction import Prediction

Row = dict[str, int | float]  # by column of predictions.csv


def measure_prediction(prediction: Prediction, data: StudyDataConfig) -> Row:
    """Share, area in pixels and number of objects of each class; mean confidence; size.

    Objects are connected by 8 neighbours. The confidence is the probability of what was decided:
    of the class of a pixel in multiclass tasks, else p inside the mask and 1 - p outside; its mean
    is over pixels, in multilabel tasks over classes as well.
    """
    mask, p = prediction.mask, prediction.probabilities
    height, width = int(mask.shape[0]), int(mask.shape[1])
    row: Row = {"height": height, "width": width}
    confidences = []
    for plane_index, index in enumerate(data.scored_classes):
        plane = mask[..., index] if mask.ndim == 3 else (mask == index).astype(np.uint8)
        plane = np.ascontiguousarray(plane)
        area = int(cv2.countNonZero(plane))
        n_labels, _ = cv2.connectedComponents(plane, connectivity=8) if area else (1, None)
        row |= dict(
            zip(class_columns(data.classes[index]), _shares(area, plane, n_labels), strict=True)
        )
        confidences.append(_confidence(p[plane_index], plane, area, data.task == "multiclass"))
    total = sum(confidences) if data.task == "multiclass" else np.mean(confidences)
    return {**row, "mean_confidence": round(float(total), 6)}


def class_columns(name: str) -> tuple[str, str, str]:
    """Columns of a class."""
    return f"share_{name}", f"objects_{name}", f"area_px_{name}"


def columns(data: StudyDataConfig) -> list[str]:
    """All columns, in order."""
    names = [name for k in data.scored_classes for name in class_columns(data.classes[k])]
    return ["file", "height", "width", *names, "mean_confidence", "seconds", "error"]


def as_csv(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Text of a CSV; a value that a row lacks is empty, and no cell acts as a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        cells = [row.get(name, "") for name in names]
        writer.writerow(quote_formula(cell) if isinstance(cell, str) else cell for cell in cells)
    return text.getvalue()


def _shares(area: int, plane: NDArray[np.uint8], n_labels: int) -> tuple[float, int, int]:
    return round(area / plane.size, 6), n_labels - 1, area


def _confidence(
    p: NDArray[np.float32], plane: NDArray[np.uint8], area: int, is_multiclass: bool
) -> float:
    """Mean over all pixels of p inside the plane, and of 1 - p outside unless `is_multiclass`."""
    # OpenCV sums in float64.
    inside = cv2.mean(p, plane)[0] * area if area else 0.0
    outside = 0.0 if is_multiclass else plane.size - area - (cv2.sumElems(p)[0] - inside)
    return (inside + outside) / plane.size
