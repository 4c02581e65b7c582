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
from harness.data.files.object_labels import object_areas
from harness.deploy.prediction import Prediction

Row = dict[str, int | float]  # by column of predictions.csv


def measure_prediction(prediction: Prediction, data: StudyDataConfig) -> Row:
    """Share, area in pixels and number of objects of each class; mean confidence; size.

    Objects are connected by 8 neighbours.
    """
    mask, p = prediction.mask, prediction.probabilities
    return measure_mask(mask, mean_confidence(p, mask, data), data)


def measure_mask(mask: NDArray[np.uint8], confidence: float, data: StudyDataConfig) -> Row:
    """The numbers of a mask, whose mean confidence is known."""
    row: Row = {"height": int(mask.shape[0]), "width": int(mask.shape[1])}
    for index in data.scored_classes:
        plane = _class_plane(mask, index)
        area = int(cv2.countNonZero(plane))
        n_objects = len(object_areas(plane.view(np.bool_))) if area else 0
        values = round(area / plane.size, 6), n_objects, area
        row |= dict(zip(class_columns(data.classes[index]), values, strict=True))
    return {**row, "mean_confidence": round(confidence, 6)}


def mean_confidence(
    p: NDArray[np.float32], mask: NDArray[np.uint8], data: StudyDataConfig
) -> float:
    """Mean probability of what was decided, over pixels, in multilabel tasks over classes as well.

    It is that of the class of a pixel in multiclass tasks, else p inside the mask and 1 - p
    outside.
    """
    confidences = []
    for plane_index, index in enumerate(data.scored_classes):
        plane = _class_plane(mask, index)
        area = int(cv2.countNonZero(plane))
        confidences.append(_confidence(p[plane_index], plane, area, data.task == "multiclass"))
    return float(sum(confidences) if data.task == "multiclass" else np.mean(confidences))


def _class_plane(mask: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """Plane (H, W) in {0, 1} of a class."""
    plane = mask[..., index] if mask.ndim == 3 else (mask == index).view(np.uint8)
    return np.ascontiguousarray(plane)


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


def _confidence(
    p: NDArray[np.float32], plane: NDArray[np.uint8], area: int, is_multiclass: bool
) -> float:
    """Mean over all pixels of p inside the plane, and of 1 - p outside unless `is_multiclass`."""
    # OpenCV sums in float64.
    inside = cv2.mean(p, plane)[0] * area if area else 0.0
    outside = 0.0 if is_multiclass else plane.size - area - (cv2.sumElems(p)[0] - inside)
    return (inside + outside) / plane.size
