"""Masks from probabilities: thresholds or argmax, then the clean-up of each class."""

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.decision_rule import ClassDecision, DecisionRule

Array8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Probabilities = NDArray[np.float32]


def decide_mask(p: Probabilities, rule: DecisionRule) -> Array8:
    """Decide each pixel of one image.

    Args:
        p: probabilities (K, H, W); K = 1 in two-class tasks.
        rule: its entries belong to the planes of `p`, in their order.

    Returns:
        (H, W) of class indices, or (H, W, K) in {0, 1} in multilabel tasks.

    Raises:
        ValueError: the rule has another number of classes than `p`.
    """
    if len(p) != len(rule.classes):
        raise ValueError(f"{len(p)} planes of probabilities, but {len(rule.classes)} rules")
    if rule.task == "multiclass":
        return _decide_argmax(p, rule)
    planes = [
        clean_plane(plane >= np.float32(0.5 if entry.threshold is None else entry.threshold), entry)
        for plane, entry in zip(p, rule.classes, strict=True)
    ]
    if rule.task == "binary":
        return planes[0].astype(np.uint8)
    return np.stack(planes, axis=2).astype(np.uint8)


def clean_plane(plane: Bools, entry: ClassDecision) -> Bools:
    """Fill holes, then remove small objects, then all but the largest; (H, W) each.

    Objects are connected by 8 neighbours, holes by 4: with 8 for both, a diagonal line would
    enclose a hole and let it escape at once. Of objects of one size the first of `label_objects`
    is kept.
    """
    if not entry.cleans:
        return plane
    if entry.fill_holes:
        plane = fill_holes(plane)
    if entry.min_size > 1 or entry.largest_only:
        plane = _select_objects(plane, entry)
    return plane


def fill_holes(plane: Bools) -> Bools:
    """Set every background region that does not touch the border of the image; (H, W)."""
    # A border of background joins all regions that touch the border into one, label of the corner.
    background = np.pad(~plane, 1, constant_values=True).astype(np.uint8)
    _, labels = cv2.connectedComponents(background, connectivity=4)
    return np.asarray(labels != labels[0, 0])[1:-1, 1:-1] | plane


def label_objects(plane: Bools) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number the connected objects (8 neighbours) of a plane (H, W).

    Returns:
        Labels (H, W), 0 for the background, and the pixels of each label. Numbers rise from the
        upper left; OpenCV scans blocks of 2 x 2 pixels, so neighbouring rows may change places.
    """
    # connectedComponentsWithStats numbers alike and takes three times as long, for boxes and
    # centres that nobody reads here.
    n, labels = cv2.connectedComponents(plane.astype(np.uint8), connectivity=8)
    return np.asarray(labels, np.int32), np.bincount(labels.ravel(), minlength=n)


def _select_objects(plane: Bools, entry: ClassDecision) -> Bools:
    labels, areas = label_objects(plane)
    is_kept = areas >= entry.min_size
    is_kept[0] = False  # label 0 is the background
    if entry.largest_only and len(areas) > 1:
        largest = 1 + int(areas[1:].argmax())
        is_kept[np.arange(len(areas)) != largest] = False
    return np.asarray(is_kept[labels])


def _decide_argmax(p: Probabilities, rule: DecisionRule) -> Array8:
    """Argmax; a pixel that the clean-up takes from its class gets its most probable other class.

    Of equal probabilities the lowest index wins. Holes are not filled: in a map of classes they are
    objects of another class.
    """
    labels = p.argmax(axis=0)
    if not rule.cleans:
        return np.asarray(labels, np.uint8)
    remaining = p.copy()
    for index, entry in enumerate(rule.classes):
        plane = labels == index
        if entry.min_size > 1 or entry.largest_only:
            remaining[index][plane & ~_select_objects(plane, entry)] = -1.0
    return np.asarray(remaining.argmax(axis=0), np.uint8)
