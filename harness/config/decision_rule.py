"""Rule that turns probabilities into masks: threshold and clean-up of each class."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from harness.core.settings import StrictSettings


class ClassDecision(StrictSettings):
    """Rule of one class. Sizes are pixels at the image's own size.

    The steps act in the order of the fields: threshold, holes, small objects, largest object.
    """

    threshold: float | None = Field(
        None, ge=0, le=1, description="lowest probability of the class; null: argmax over classes"
    )
    fill_holes: bool = Field(False, description="fill background that an object encloses")
    min_size: int = Field(0, ge=0, description="pixels of the smallest object that is kept")
    largest_only: bool = Field(False, description="keep only the largest object")

    @property
    def cleans(self) -> bool:
        """True if a step follows the threshold."""
        # Above 1: every object has at least one pixel, so a min_size of 1 removes none.
        return self.fill_holes or self.min_size > 1 or self.largest_only


class DecisionRule(StrictSettings):
    """Rule of a study's task.

    Attributes:
        classes: one entry for each of `StudyDataConfig.scored_classes`, in their order.
    """

    task: Literal["binary", "multiclass", "multilabel"]
    classes: Annotated[
        tuple[ClassDecision, ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    ]

    @property
    def cleans(self) -> bool:
        """True if a step follows the threshold or argmax in any class."""
        return any(entry.cleans for entry in self.classes)
