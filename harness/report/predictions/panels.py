"""Pictures of the gallery: predictions read from trial folders, and drawn masks and overlays."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.errors import DataError
from harness.data.files.image_io import read_image
from harness.data.files.overlay import (
    CLASS_COLOURS,
    COLOURS,
    OUTLINE_COLOURS,
    PROBABILITY_COLOURMAP,
    VOID_COLOUR,
    Colour,
    background_classes,
    draw_class_map,
    draw_class_overlay,
    draw_outlines,
    draw_overlay,
    foreground_classes,
    wrong_pixels,
)
from harness.data.files.resize import resize_mask

Array8 = NDArray[np.uint8]

# Saved probabilities are np.rint(255 p), and rint rounds 127.5 to the even 128: p >= 0.5 is exactly
# a value of at least 128.
DECISION_THRESHOLD = 128


def read_decision(paths: Sequence[Path], data: StudyDataConfig) -> Array8:
    """Read a predicted mask: 0 or 1 (E, E), per class (E, E, K), or class indices (E, E).

    Raises:
        DataError: a picture has another size, or a class index that the data does not have.
    """
    planes = read_grey_images(paths, data.eval_size)
    if data.task == "multiclass":
        if planes[0].max() >= len(data.classes):
            raise DataError(f"{paths[0]}: class {planes[0].max()} of {len(data.classes)}")
        return np.asarray(planes[0], np.uint8)
    masks = (planes >= DECISION_THRESHOLD).astype(np.uint8)
    decision = masks[0] if data.task == "binary" else np.moveaxis(masks, 0, 2)
    return np.asarray(decision, np.uint8)


def read_grey_images(paths: Sequence[Path], size: int) -> Array8:
    """Read grey pictures, uint8 (n, size, size). Raises DataError for another size."""
    planes = []
    for path in paths:
        grey = read_image(path, float(size * size))[..., 0]
        if grey.shape != (size, size):
            raise DataError(f"{path}: {grey.shape[1]} x {grey.shape[0]} pixels, not {size} square")
        planes.append(np.asarray(grey, np.uint8))
    return np.stack(planes)


def probability_scale(n: int = 5) -> list[Colour]:
    """`n` colours of PROBABILITY_COLOURMAP from probability 0 to 1, RGB."""
    greys = np.rint(np.linspace(0, 255, n)).astype(np.uint8)[None]
    return [
        tuple(colour)
        for colour in cv2.applyColorMap(greys, PROBABILITY_COLOURMAP)[0, :, ::-1].tolist()
    ]


def draw_probability(certainty: Array8, side: int) -> Array8:
    """Colour a probability map, uint8 (E, E), by PROBABILITY_COLOURMAP; RGB (side, side, 3)."""
    grey = cv2.resize(certainty, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.applyColorMap(grey, PROBABILITY_COLOURMAP)[..., ::-1], np.uint8)


def draw_labels(labels: Array8, data: StudyDataConfig) -> Array8:
    """Draw a mask: 0, 255 and grey for ignored pixels (side, side), or class colours in RGB."""
    if data.task == "binary":
        return np.where(labels == IGNORE_INDEX, 128, 255 * labels).astype(np.uint8)
    return draw_class_map(labels, plain=background_classes(data.classes))


def draw_truth_outline(image: Array8, truth: Array8, data: StudyDataConfig) -> Array8:
    """Draw the outline of the true mask over its image, RGB; several classes in their colours."""
    if data.task == "binary":
        return draw_outlines(image, [((truth == 1).astype(np.uint8), OUTLINE_COLOURS["truth"])])
    planes = zip(foreground_classes(data), label_planes(truth, data), strict=True)
    return draw_outlines(
        image, [(plane, CLASS_COLOURS[k % len(CLASS_COLOURS)]) for k, plane in planes]
    )


def draw_strip_picture(
    image: Array8, truth: Array8, decision: Array8, data: StudyDataConfig
) -> Array8:
    """Draw truth and prediction over an image, RGB: as outlines in OUTLINE_COLOURS.

    Of several classes it is their overlay: outlines in two colours would not name the class.
    """
    if data.task != "binary":
        return draw_prediction_overlay(image, truth, decision, data)
    labels = {"truth": truth, "prediction": decision}
    return draw_outlines(
        image,
        [((mask == 1).astype(np.uint8), OUTLINE_COLOURS[name]) for name, mask in labels.items()],
    )


def label_planes(labels: Array8, data: StudyDataConfig) -> list[Array8]:
    """Split a mask into one plane (H, W), 0 or 1, per foreground class."""
    if data.task == "binary":
        return [(labels == 1).astype(np.uint8)]
    if data.task == "multiclass":
        return [(labels == k).astype(np.uint8) for k in foreground_classes(data)]
    return [(labels[..., k] == 1).astype(np.uint8) for k in foreground_classes(data)]


def draw_prediction_overlay(
    image: Array8, truth: Array8, decision: Array8, data: StudyDataConfig
) -> Array8:
    """Draw a predicted mask over its image in RGB; of several classes, wrong pixels are hatched."""
    if data.task == "binary":
        return draw_overlay(image, truth, decision)
    wrong, background = wrong_pixels(truth, decision), background_classes(data.classes)
    masked_decision = np.where(truth == IGNORE_INDEX, IGNORE_INDEX, decision).astype(np.uint8)
    return draw_class_overlay(image, masked_decision, wrong=wrong, plain=background)


def resize_for_panel(mask: Array8, side: int, data: StudyDataConfig) -> Array8:
    """Resize a mask to a panel; enlarged pixels stay squares, so that nothing looks smoother."""
    if mask.shape[0] > side and data.task == "binary" and not data.has_ignored_pixels:
        return resize_mask(mask, (side, side))
    # Nearest pixel by integers: interpolation would invent class indices between two classes.
    ys = (np.arange(side) * mask.shape[0] + mask.shape[0] // 2) // side
    if mask.shape[0] > side or mask.ndim == 3:
        return np.ascontiguousarray(mask[ys][:, ys])
    return np.asarray(cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST), np.uint8)


def overlay_legend(data: StudyDataConfig) -> list[tuple[str, Colour]]:
    """Meaning and RGB colour of each entry in the legend of sample predictions."""
    if data.task == "binary":
        meanings = list(COLOURS.items())
    else:
        background = background_classes(data.classes)
        meanings = [
            (name, CLASS_COLOURS[k]) for k, name in enumerate(data.classes) if k not in background
        ]
    return [*meanings, ("does not count", VOID_COLOUR)] if data.has_ignored_pixels else meanings


def hex_colour(colour: Colour) -> str:
    """An RGB colour as CSS writes it, `#e08e00`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def overlay_description(data: StudyDataConfig) -> str:
    """Contents of an overlay, for the text that replaces the picture."""
    if data.task == "binary":
        return "hits, misses and false alarms"
    return "classes, wrong pixels hatched,"
