"""Choose thresholds and clean-up of some networks on their validation images.

Two-class and multilabel tasks need two passes, since objects are known only once the threshold is
chosen. The first pass keeps, for each pixel, the number of candidate thresholds that its
probability reaches: one byte, which gives the same decisions at all of them. Images that do not fit
into the store are predicted again. Multiclass tasks have no threshold and need one pass.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.core.text import count
from harness.data.files.decide import rank_classes
from harness.data.files.object_labels import plane_bands
from harness.evaluation.decision.cleanup_search import TruthObjects, choose_cleanup
from harness.evaluation.decision.object_tables import (
    ImageObjects,
    tabulate_classes,
    tabulate_plane,
)
from harness.evaluation.decision.plane_store import PlaneStore
from harness.evaluation.decision.step_effects import StepEffect
from harness.evaluation.held_out.measure import (
    THRESHOLDS,
    ImageEvaluator,
    ImageGroup,
    PassedCounts,
    ThresholdSearch,
    count_passed,
    passed_thresholds,
)
from harness.evaluation.held_out.predicted_image import PredictedImage
from harness.evaluation.held_out.scores import class_pixels, counted_pixels

Planes = NDArray[np.uint8]
ChosenRule = tuple[DecisionRule, tuple[StepEffect, ...]]


def choose_rule(
    evaluator: ImageEvaluator,
    groups: Sequence[ImageGroup],
    data: StudyDataConfig,
    store: PlaneStore | None = None,
) -> ChosenRule:
    """Choose the rule of a task, and measure the effect of each clean-up step.

    Args:
        evaluator: the networks.
        groups: validation images, with the indices of the networks not trained on them.
        data: task and classes.
        store: keeps planes between the passes; None: one with the default bound.
    """
    if data.task == "multiclass":
        return _choose_multiclass(evaluator, groups, data)
    return _choose_by_threshold(evaluator, groups, data, PlaneStore() if store is None else store)


def _choose_multiclass(
    evaluator: ImageEvaluator, groups: Sequence[ImageGroup], data: StudyDataConfig
) -> ChosenRule:
    truths = [TruthObjects() for _ in data.scored_classes]
    images: list[ImageObjects] = []
    text = f"choosing the clean-up on {_count_images(groups)}"
    for _, image in evaluator.predict_groups(groups, text):
        objects = _tabulate_classes(_rank_planes(image), truths, data)
        images += [] if objects is None else [objects]
    entries = [ClassDecision() for _ in data.scored_classes]
    chosen, effects = choose_cleanup(images, entries, truths, data.classes, holes=False)
    return DecisionRule(task=data.task, classes=tuple(chosen)), tuple(effects)


def _tabulate_classes(
    planes: Planes, truths: Sequence[TruthObjects], data: StudyDataConfig
) -> ImageObjects | None:
    """Objects of one image, whose truth is added; None if none of its pixels counts."""
    best, second, mask = planes
    counted = counted_pixels(mask)
    for truth, index in zip(truths, data.scored_classes, strict=True):
        truth.add(class_pixels(mask, index))
    if not counted.any():
        return None
    return tabulate_classes(best, second, mask, counted, len(data.classes))


def _choose_by_threshold(
    evaluator: ImageEvaluator,
    groups: Sequence[ImageGroup],
    data: StudyDataConfig,
    store: PlaneStore,
) -> ChosenRule:
    classes, truths = data.scored_classes, [TruthObjects() for _ in data.scored_classes]
    thresholds = _choose_thresholds(evaluator, groups, data, store, truths)
    tables: list[list[ImageObjects]] = [[] for _ in classes]
    # Planes belong to the called function alone: the next image's must not lie beside them.
    stored = _stored_planes(evaluator, groups, data, store)
    for objects in map(partial(_tabulate_image, thresholds), stored):
        for images, of_class in zip(tables, objects, strict=False):
            images.append(of_class)
    entries: list[ClassDecision] = []
    effects: list[StepEffect] = []
    # Classes that are decided by themselves have values of their own.
    for images, truth, index in zip(tables, truths, classes, strict=True):
        entry, name = ClassDecision(threshold=thresholds[index]), data.classes[index]
        chosen, class_effects = choose_cleanup(images, [entry], [truth], [name], holes=True)
        entries += chosen
        effects += class_effects
    return DecisionRule(task=data.task, classes=tuple(entries)), tuple(effects)


def _choose_thresholds(
    evaluator: ImageEvaluator,
    groups: Sequence[ImageGroup],
    data: StudyDataConfig,
    store: PlaneStore,
    truths: Sequence[TruthObjects],
) -> dict[int, float]:
    """Threshold by class, from a first pass that also fills `store` and `truths`."""
    search = ThresholdSearch(data.scored_classes)
    text = f"choosing thresholds on {_count_images(groups)}"
    for row, image in evaluator.predict_groups(groups, text):
        _add_planes(row.row, _pack_planes(image, data), search, truths, store)
    return search.best()


def _add_planes(
    row: int,
    planes: Planes,
    search: ThresholdSearch,
    truths: Sequence[TruthObjects],
    store: PlaneStore,
) -> None:
    """Add one image to the search for thresholds."""
    store.add(row, planes)
    counted = planes[-1].view(np.bool_)
    for index, truth, (passed, y) in zip(
        search.classes, truths, _class_planes(planes), strict=True
    ):
        search.add_counts(index, _count_in_bands(passed, y, counted))
        truth.add(y)


def _tabulate_image(thresholds: Mapping[int, float], planes: Planes) -> list[ImageObjects]:
    """Objects of each class of one image; [] if none of its pixels counts."""
    counted = planes[-1].view(np.bool_)
    if not counted.any():
        return []
    return [
        tabulate_plane(passed > THRESHOLDS.index(threshold), y, counted)
        for threshold, (passed, y) in zip(thresholds.values(), _class_planes(planes), strict=True)
    ]


def _rank_planes(image: PredictedImage) -> Planes:
    """Shape (3, H, W): the most probable class of each pixel, the next one, and the truth."""
    planes = np.empty((3, *image.size), np.uint8)
    for rows, p, mask in image.bands:
        planes[0, rows], planes[1, rows] = rank_classes(p)
        planes[2, rows] = mask
    return planes


def _pack_planes(image: PredictedImage, data: StudyDataConfig) -> Planes:
    """Shape (2 K + 1, H, W): thresholds passed and truth of each scored class, counted pixels."""
    planes = np.empty((2 * len(data.scored_classes) + 1, *image.size), np.uint8)
    for rows, p, mask in image.bands:
        for position, index in enumerate(data.scored_classes):
            plane = p[0] if data.task == "binary" else p[index]
            planes[2 * position, rows] = passed_thresholds(plane)
            planes[2 * position + 1, rows] = class_pixels(mask, index)
        planes[-1, rows] = counted_pixels(mask)
    return planes


def _count_in_bands(
    passed: Planes, y: NDArray[np.bool_], counted: NDArray[np.bool_]
) -> PassedCounts:
    """`count_passed` of the counted pixels of planes (H, W)."""
    counts = [
        count_passed(passed[rows][counted[rows]], y[rows][counted[rows]])
        for rows in plane_bands(*passed.shape)
    ]
    return np.asarray(np.sum(counts, axis=0), np.int64)


def _class_planes(planes: Planes) -> Iterator[tuple[Planes, NDArray[np.bool_]]]:
    """Thresholds passed and truth of each class, both (H, W)."""
    for start in range(0, len(planes) - 1, 2):
        yield planes[start], planes[start + 1].view(np.bool_)


def _stored_planes(
    evaluator: ImageEvaluator,
    groups: Sequence[ImageGroup],
    data: StudyDataConfig,
    store: PlaneStore,
) -> Iterator[Planes]:
    """Planes of every image, in the order of the groups within stored and predicted ones."""
    absent = []
    for indices, images in groups:
        yield from (store.get(row.row) for row in images.rows if row.row in store)
        rows = tuple(row for row in images.rows if row.row not in store)
        absent += [(indices, replace(images, rows=rows))] if rows else []
    if absent:
        text = f"choosing the clean-up on {_count_images(absent)} once more"
        for _, image in evaluator.predict_groups(absent, text):
            yield _pack_planes(image, data)


def _count_images(groups: Sequence[ImageGroup]) -> str:
    return count(sum(len(images.rows) for _, images in groups), "validation image")
