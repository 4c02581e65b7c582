"""The pictures of the gallery: read from what trials kept, drawn, and packed into the page."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.data.overlay import class_map, class_overlay, overlay, unpainted, wrong_pixels
from harness.data.palette import Colour
from harness.data.pictures import read_image
from harness.data.resize import resize_mask
from harness.data_config import VOID, StudyDataConfig
from harness.errors import DataError

Array8 = NDArray[np.uint8]

# Cividis (Nunez, Anderton and Renslow 2018): from dark blue (0) to yellow (1), evenly brighter, and
# alike for common kinds of colour blindness.
PALETTE = cv2.COLORMAP_CIVIDIS
DECIDED = 128  # kept probabilities are np.rint(255 p): p >= 0.5 from here on


def read_decision(paths: Sequence[Path], data: StudyDataConfig) -> Array8:
    """What was decided: 0 or 1 (E, E) or in planes (E, E, K), or class indices (E, E)."""
    planes = read_greys(paths, data.eval_size)
    if data.task == "multiclass":
        if planes[0].max() >= len(data.classes):
            raise DataError(f"{paths[0]}: class {planes[0].max()} of {len(data.classes)}")
        return np.asarray(planes[0], np.uint8)
    decided = (planes >= DECIDED).astype(np.uint8)
    shown = decided[0] if data.task == "binary" else np.moveaxis(decided, 0, 2)
    return np.asarray(shown, np.uint8)


def read_greys(paths: Sequence[Path], size: int) -> Array8:
    """Grey pictures of `size` square, uint8 (n, size, size). Raises DataError for others."""
    planes = []
    for path in paths:
        grey = read_image(path, float(size * size))[..., 0]
        if grey.shape != (size, size):
            raise DataError(f"{path}: {grey.shape[1]} x {grey.shape[0]} pixels, not {size} square")
        planes.append(np.asarray(grey, np.uint8))
    return np.stack(planes)


def probability_scale(n: int = 5) -> list[Colour]:
    """`n` colours of PALETTE from probability 0 to 1, RGB."""
    greys = np.rint(np.linspace(0, 255, n)).astype(np.uint8)[None]
    return [tuple(colour) for colour in cv2.applyColorMap(greys, PALETTE)[0, :, ::-1].tolist()]


def probable(certainty: Array8, side: int) -> Array8:
    """A map of probabilities, uint8 (E, E), in the colours of PALETTE, RGB (side, side, 3)."""
    grey = cv2.resize(certainty, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.applyColorMap(grey, PALETTE)[..., ::-1], np.uint8)


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
