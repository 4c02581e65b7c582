"""Choose the clean-up of each class on validation images, step by step, from tables of objects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.config.decision_rule import ClassDecision
from harness.data.files.object_labels import object_areas
from harness.evaluation.decision.object_tables import SIZES, Counts, ImageObjects
from harness.evaluation.decision.step_effects import (
    StepEffect,
    StepName,
    compare_decisions,
    empty_dice,
)
from harness.evaluation.held_out.scores import MIN_OBJECT_PIXELS

# Dice averaged over images hardly notices small objects: without these limits it would accept that
# real ones are thrown away for a few false ones.
MAX_LOST_SHARE: Final = 0.05  # of true objects that may be smaller than min_size
MAX_SEVERAL_SHARE: Final = 0.05  # of images with several true objects, for largest_only


@dataclass
class TruthObjects:
    """True objects of one class over the validation images; they limit the candidates.

    Attributes:
        areas: pixels of each object, without the specks of masks saved as JPEG.
        numbers: number of objects in each image that has any.
    """

    areas: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def add(self, y: NDArray[np.bool_]) -> None:
        """Add the truth (H, W) of one image."""
        objects = object_areas(y)
        # As in `count_truth_objects`: specks count only where there is nothing larger.
        large = objects[objects >= MIN_OBJECT_PIXELS]
        objects = large if len(large) else objects
        if len(objects):
            self.areas += objects.tolist()
            self.numbers.append(len(objects))

    @property
    def largest_min_size(self) -> int:
        """Largest allowed min_size: at most MAX_LOST_SHARE of the true objects are smaller."""
        # With fewer than 20 objects this is the smallest one.
        n_lost = math.floor(MAX_LOST_SHARE * len(self.areas) + 1e-9)
        return sorted(self.areas)[n_lost] if self.areas else 0

    @property
    def allows_largest_only(self) -> bool:
        """True if at most MAX_SEVERAL_SHARE of the images with the class have several objects."""
        n_several = sum(number > 1 for number in self.numbers)
        return bool(self.numbers) and n_several <= MAX_SEVERAL_SHARE * len(self.numbers)

    def candidates(self, *, holes: bool) -> list[tuple[StepName, tuple[bool | int, ...]]]:
        """Values of each step that may be tried, in the order in which the steps act."""
        sizes = tuple(size for size in SIZES if size <= self.largest_min_size)
        steps: list[tuple[StepName, tuple[bool | int, ...], bool]] = [
            ("fill_holes", (True,), holes),
            ("min_size", sizes, bool(sizes)),
            ("largest_only", (True,), self.allows_largest_only),
        ]
        return [(step, values) for step, values, is_allowed in steps if is_allowed]


def choose_cleanup(
    images: Sequence[ImageObjects],
    entries: Sequence[ClassDecision],
    truths: Sequence[TruthObjects],
    class_names: Sequence[str],
    *,
    holes: bool,
) -> tuple[list[ClassDecision], list[StepEffect]]:
    """Add to each class the steps that raise the mean Dice by more than noise.

    Greedy: class by class, and in each class in the order in which the steps act; each step is
    compared with the rule so far. Of several values of a step the one with the largest mean Dice is
    compared; of equal ones the smallest.

    Args:
        images: objects of the classes that are decided together.
        entries, truths, class_names: one of each for each of these classes.
        holes: filling holes is a candidate.

    Returns:
        The entries with the chosen steps, and the effect of every step that was tried.
    """
    chosen, effects = list(entries), list[StepEffect]()
    if not images:
        return chosen, effects
    true = np.stack([image.true for image in images])
    counts = np.stack([image.counts(chosen) for image in images])
    for index, (truth, name) in enumerate(zip(truths, class_names, strict=True)):
        for step, values in truth.candidates(holes=holes):
            best = max(
                (
                    _try_value(images, counts, true, index, chosen[index], step, value)
                    for value in values
                ),
                # The smallest of equal values: max returns the first.
                key=lambda trial: round(float(trial.values.mean()), 12),
            )
            effect = compare_decisions(
                name, step, best.value, _image_values(counts, true), best.values
            )
            assert effect is not None, "there are images"
            if effect.is_gain:
                effect = effect.model_copy(update={"is_kept": True})
                chosen[index], counts = best.entry, best.counts
            effects.append(effect)
    return chosen, effects


@dataclass(frozen=True)
class _TriedStep:
    """One value of a step: the entry with it, and the counts and values of all images under it."""

    value: bool | int
    entry: ClassDecision
    counts: Counts
    values: NDArray[np.float64]


def _try_value(
    images: Sequence[ImageObjects],
    counts: Counts,
    true: Counts,
    index: int,
    entry: ClassDecision,
    step: StepName,
    value: bool | int,
) -> _TriedStep:
    new_entry = entry.model_copy(update={step: value})
    changes = [
        image.class_counts(index, new_entry) - image.class_counts(index, entry) for image in images
    ]
    new_counts = counts + np.stack(changes)
    return _TriedStep(value, new_entry, new_counts, _image_values(new_counts, true))


def _image_values(counts: Counts, true: Counts) -> NDArray[np.float64]:
    """Dice of each image, in multiclass tasks its mean over classes; shape (images,)."""
    return np.asarray(empty_dice(counts[..., 0], counts[..., 1], true).mean(axis=1))
