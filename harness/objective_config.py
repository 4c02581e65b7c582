"""The metric that a study optimises: ours, or one that others have registered."""

import math
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from harness.errors import ConfigError, nearest
from harness.parts import registered
from harness.settings import ANY_PART, Settings

METRICS = (
    "val/dice_loss",
    "val/dice",
    "val/iou",
    "val/precision",
    "val/recall",
    "val/accuracy",
    "val/dice_micro",
    "val/iou_micro",
    "val/miou",
)


class ObjectiveConfig(Settings):
    """The one metric a study optimises: one of METRICS, or `val/<name>` of the user's own."""

    metric: str = "val/dice_loss"
    direction: Literal["minimize", "maximize"] = Field(
        "minimize", description="absent: the better way of that metric"
    )

    @property
    def is_ours(self) -> bool:
        """Whether it is one of METRICS, which lie in [0, 1]."""
        return self.metric in METRICS

    def can_be(self, value: float) -> bool:
        """Whether the metric can have this value: finite, and of ours in [0, 1]."""
        return math.isfinite(value) and (not self.is_ours or 0.0 <= value <= 1.0)

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str, info: ValidationInfo) -> str:
        known = metric_names()
        if metric not in known and not (info.context or {}).get(ANY_PART):
            raise ValueError(f"no such metric {metric!r}{nearest(metric, known)}")
        return metric

    @model_validator(mode="before")
    @classmethod
    def _better_way(cls, value: Any) -> Any:
        if isinstance(value, dict) and "direction" not in value:
            direction = _direction(value.get("metric", "val/dice_loss"))
            return value if direction is None else {**value, "direction": direction}
        return value

    @model_validator(mode="after")
    def _right_way(self) -> Self:
        right = _direction(self.metric)
        if right is not None and self.direction != right:
            raise ValueError(f"direction of {self.metric} must be {right}")
        return self


def metric_names() -> tuple[str, ...]:
    """Every metric that can be an objective: ours, then those that others have registered."""
    return (*METRICS, *(f"val/{name}" for name in registered("metric")))


def asked_objective(metric: str | None) -> dict[str, dict[str, str]]:
    """The group `objective` of study.yaml for `--objective`; the direction follows from the metric.

    Raises:
        ConfigError: no such metric; the message names those that there are.
    """
    if metric is None:
        return {}
    if metric not in metric_names():
        known = ", ".join(metric_names())
        hint = nearest(metric, metric_names(), most=0)
        raise ConfigError(f"--objective {metric}: no such metric{hint}; the metrics are {known}")
    return {"objective": {"metric": metric, "direction": _direction(metric) or "minimize"}}


def _direction(metric: Any) -> str | None:
    """Which way is better; None: not known here."""
    if metric in METRICS:
        return "minimize" if metric.endswith("loss") else "maximize"
    part = registered("metric").get(str(metric).removeprefix("val/"))
    return None if part is None else part.direction
