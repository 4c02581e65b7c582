"""Effect of each clean-up step: mean Dice before and after, with the paired interval of the gain.

The Dice of these comparisons also counts images without the class: 1 if nothing is decided as the
class, else 0. Otherwise a step that removes false alarms from empty images would show no gain. The
metrics of `harness test` leave such images out, as always.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.core.settings import StrictSettings
from harness.evaluation.statistics.paired_tests import paired_test

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
StepName = Literal["fill_holes", "min_size", "largest_only"]

STEPS: tuple[StepName, ...] = ("fill_holes", "min_size", "largest_only")  # in the order they act
MAX_P = 0.05  # of the sign-flip test


class StepEffect(StrictSettings):
    """One step of one class, measured on images on top of all steps that were kept before it.

    Attributes:
        class_name: class whose objects the step changes.
        step: field of `ClassDecision`.
        value: value of that field: True, or pixels.
        before, after: mean over images of `empty_dice`; in multiclass tasks its mean over classes.
        low, high: 95 % interval of the mean gain; None with too few images.
        p: two-sided p-value of "the mean gain is 0" (`paired_test`).
        n: number of images with a counted pixel.
        is_kept: True if the step is part of the rule.
    """

    class_name: str
    step: StepName
    value: bool | int
    before: float
    after: float
    low: float | None = None
    high: float | None = None
    p: float
    n: int
    is_kept: bool

    @property
    def gain(self) -> float:
        """Mean gain in Dice."""
        return self.after - self.before

    @property
    def name(self) -> str:
        """The step and its value: `fill_holes`, `min_size 16`."""
        return f"{self.step} {self.value}" if self.step == "min_size" else self.step

    @property
    def sentence(self) -> str:
        """`polyp min_size 16: mean Dice 0.8123 to 0.8190, gain +0.0067 [+0.0012, +0.0130]`."""
        limits = "" if self.low is None else f" [{self.low:+.4f}, {self.high:+.4f}]"
        return (
            f"{self.class_name} {self.name}: mean Dice {self.before:.4f} to {self.after:.4f}, gain "
            f"{self.gain:+.4f}{limits}"
        )

    @property
    def is_gain(self) -> bool:
        """True if the gain is more than noise: above 0 by its interval and by the sign-flip test.

        Both, since a clean-up changes few images: if 4 of 100 gain and no other changes, the
        bootstrap's interval excludes 0, but 4 equal signs have a p of 0.12.
        """
        return self.low is not None and self.low > 0 and self.p <= MAX_P


def empty_dice(predicted: Counts, hits: Counts, true: Counts) -> Floats:
    """Dice 2 hits / (predicted + true) of any shape; 1 where nothing is predicted or true."""
    total = predicted + true
    return np.asarray(np.divide(2 * hits, total, out=np.ones(total.shape), where=total > 0))


def compare_decisions(
    class_name: str, step: StepName, value: bool | int, before: Floats, after: Floats
) -> StepEffect | None:
    """Effect of a step; `is_kept` is False.

    Args:
        before, after: shape (images,), `empty_dice` of each image.

    Returns:
        None if there is no image.
    """
    if not len(before):
        return None
    test = paired_test(after, before)
    return StepEffect(
        class_name=class_name,
        step=step,
        value=value,
        before=float(before.mean()),
        after=float(after.mean()),
        low=None if test.interval is None else test.interval.low,
        high=None if test.interval is None else test.interval.high,
        p=test.p,
        n=test.n,
        is_kept=False,
    )


def cumulative_rules(rule: DecisionRule) -> list[tuple[int, StepName, DecisionRule]]:
    """The rule built up step by step: index in `rule.classes`, step, and the rule up to that step.

    Empty if the rule has no clean-up; otherwise the last entry is the rule itself.
    """
    entries = [ClassDecision(threshold=entry.threshold) for entry in rule.classes]
    partial_rules: list[tuple[int, StepName, DecisionRule]] = []
    for index, step in active_steps(rule.classes):
        value = getattr(rule.classes[index], step)
        entries[index] = entries[index].model_copy(update={step: value})
        partial_rules.append((index, step, rule.model_copy(update={"classes": tuple(entries)})))
    return partial_rules


def active_steps(entries: Sequence[ClassDecision]) -> list[tuple[int, StepName]]:
    """Index of the class and name of each step that acts, in the order in which they were chosen.

    A `min_size` of 1 keeps every object, so it is no step.
    """
    return [
        (index, step)
        for index, entry in enumerate(entries)
        for step in STEPS
        if int(getattr(entry, step)) > (step == "min_size")
    ]
