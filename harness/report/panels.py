"""The pictures of the gallery: read from what trials kept, drawn, and packed into the page."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.data.overlay import class_map, class_overlay, overlay, unpainted, wrong_pixels
from harness.data.pictures import read_image
from harness.data.resize import resize_mask
from harness.data_config import VOID, StudyDataConfig
from harness.errors import DataError

Array8 = NDArray[np.uint8]

DECIDED = 128  # kept probabilities are np.rint(255 p): p >= 0.5 from here on


def read_decision(paths: Sequence[Path], data: StudyDataConfig) -> Array8:
    """What was decided: 0 or 1 (E, E) or in planes (E, E, K), or class indices (E, E)."""
    size = data.eval_size
    planes = []
    for path in paths:
        grey = read_image(path, float(size * size))[..., 0]
        if grey.shape != (size, size):
            raise DataError(f"{path}: {grey.shape[1]} x {grey.shape[0]} pixels, not {size} square")
        planes.append(np.asarray(grey, np.uint8))
    if data.task == "multiclass":
        if planes[0].max() >= len(data.classes):
            raise DataError(f"{paths[0]}: class {planes[0].max()} of {len(data.classes)}")
        return planes[0]
    decided = [(plane >= DECIDED).astype(np.uint8) for plane in planes]
    return decided[0] if data.task == "binary" else np.stack(decided, axis=2)


def flat(labels: Array8, data: StudyDataConfig) -> Array8:
    """Two classes: 0, 255 and grey for VOID, (side, side); several: their colours, RGB."""
    if data.task == "binary":
        return np.where(labels == VOID, 128, 255 * labels).astype(np.uint8)
    return class_map(labels, plain=unpainted(data.classes))


def overlaid(image: Array8, truth: Array8, decided: Array8, data: StudyDataConfig) -> Array8:
    """The decision over its image, RGB: right and wrong, or several classes and what is wrong."""
    if data.task == "binary":
        return overlay(image, truth, decided)
    wrong, plain = wrong_pixels(truth, decided), unpainted(data.classes)
    counted = np.where(truth == VOID, VOID, decided).astype(np.uint8)
    return class_overlay(image, counted, wrong=wrong, plain=plain)


def shown_at(mask: Array8, side: int, data: StudyDataConfig) -> Array8:
    """A mask at the panel's size; enlarged, its pixels stay visible as what they are."""
    if mask.shape[0] > side and data.task == "binary" and not data.has_void:
        return resize_mask(mask, (side, side))
    ys = (np.arange(side) * mask.shape[0] + mask.shape[0] // 2) // side
    if mask.shape[0] > side or mask.ndim == 3:
        return np.ascontiguousarray(mask[ys][:, ys])
    return np.asarray(cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST), np.uint8)
