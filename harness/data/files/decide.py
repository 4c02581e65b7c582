"""Masks from probabilities: thresholds or argmax, then the clean-up of each class.

Objects are labelled in bands of rows, so that a large image needs a few bytes for each pixel.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.data.files.object_labels import ObjectLabels, object_numbers, plane_bands

Array8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Probabilities = NDArray[np.float32]


class DecisionPlanes:
    """Decisions of one image before its clean-up, collected in bands of probabilities.

    One byte for each pixel and plane; two for each pixel in multiclass tasks.

    Args:
        rule: thresholds; its clean-up is the one of `mask` unless that is given another.
        size: height and width of the image.
    """

    def __init__(self, rule: DecisionRule, size: tuple[int, int]) -> None:
        self.rule = rule
        self._is_multiclass = rule.task == "multiclass"
        n_planes = 2 if self._is_multiclass else len(rule.classes)
        # The second plane of a multiclass task is needed only where an object is taken away.
        n_planes -= self._is_multiclass and not rule.cleans
        self._planes = np.zeros((n_planes, *size), np.uint8)

    def add(self, top: int, p: Probabilities) -> None:
        """Add probabilities (K, rows, W) that begin at row `top`.

        Raises:
            ValueError: the rule has another number of classes than `p`.
        """
        if len(p) != len(self.rule.classes):
            raise ValueError(
                f"{len(p)} planes of probabilities, but {len(self.rule.classes)} rules"
            )
        planes = self._planes[:, top : top + p.shape[1]]
        if not self._is_multiclass:
            for target, plane, entry in zip(planes, p, self.rule.classes, strict=True):
                threshold = 0.5 if entry.threshold is None else entry.threshold
                np.greater_equal(plane, np.float32(threshold), out=target.view(np.bool_))
        elif self.rule.cleans:
            planes[0], planes[1] = rank_classes(p)
        else:
            planes[0] = p.argmax(axis=0)

    def mask(self, rule: DecisionRule | None = None) -> Array8:
        """The mask, as of `decide_mask`.

        Args:
            rule: equal thresholds and a part of the clean-up; None: all of it.
        """
        entries = (self.rule if rule is None else rule).classes
        if self._is_multiclass:
            return _clean_classes(self._planes, entries)
        planes = [
            clean_plane(plane.view(np.bool_), entry).view(np.uint8)
            for plane, entry in zip(self._planes, entries, strict=True)
        ]
        if self.rule.task == "multilabel":
            return np.stack(planes, axis=2)
        return planes[0].copy() if planes[0].base is self._planes else planes[0]


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
    planes = DecisionPlanes(rule, (p.shape[1], p.shape[2]))
    planes.add(0, p)
    return planes.mask()


def without_cleanup(rule: DecisionRule) -> DecisionRule:
    """The thresholds of a rule alone."""
    entries = tuple(ClassDecision(threshold=entry.threshold) for entry in rule.classes)
    return rule.model_copy(update={"classes": entries})


def rank_classes(p: Probabilities) -> tuple[Array8, Array8]:
    """The most probable class of each pixel of (K, H, W), and the next one; ties: lowest index."""
    best = p.argmax(axis=0)
    others = p.copy()
    np.put_along_axis(others, best[None], -1.0, axis=0)
    return best.astype(np.uint8), others.argmax(axis=0).astype(np.uint8)


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
    labels = ObjectLabels(connectivity=4)
    for rows in plane_bands(*plane.shape):
        labels.add(_framed_background(plane, rows))
    is_hole = labels.numbers().of_label > 1
    # The frame joins all regions that touch the border into one object, that of its first pixel.
    labels, filled = ObjectLabels(connectivity=4), plane.copy()
    for rows in plane_bands(*plane.shape):
        above = int(rows.start == 0)
        holes = is_hole[labels.add(_framed_background(plane, rows))]
        filled[rows] |= holes[above : above + rows.stop - rows.start, 1:-1]
    return filled


def _framed_background(plane: Bools, rows: slice) -> Bools:
    """Rows of the background with the frame of one pixel that lies around the image."""
    above, below = int(rows.start == 0), int(rows.stop == len(plane))
    return np.pad(~plane[rows], ((above, below), (1, 1)), constant_values=True)


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
    of_label, areas = object_numbers(plane)
    is_kept = areas >= entry.min_size
    is_kept[0] = False  # the background
    if entry.largest_only and len(areas) > 1:
        largest = 1 + int(areas[1:].argmax())
        is_kept[np.arange(len(areas)) != largest] = False
    keeps_label = is_kept[of_label]
    labels, selected = ObjectLabels(), np.empty_like(plane)
    for rows in plane_bands(*plane.shape):
        selected[rows] = keeps_label[labels.add(plane[rows])]
    return selected


def _clean_classes(planes: Array8, entries: Sequence[ClassDecision]) -> Array8:
    """Classes (H, W); a pixel that the clean-up takes gets its most probable other class.

    Holes are not filled: in a map of classes they are objects of another class.
    """
    best: Array8 = planes[0]
    mask: Array8 = best.copy()
    for index, entry in enumerate(entries):
        if entry.min_size > 1 or entry.largest_only:
            plane = best == index
            is_removed = plane & ~_select_objects(plane, entry)
            mask[is_removed] = planes[1][is_removed]
    return mask
