"""The metric that a study optimises, built in or registered, and what is better by it."""

import math
from typing import Any, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from harness.config.components import metrics
from harness.config.measurements import BUILTIN_METRICS, Direction
from harness.core.errors import ConfigError, suggest_nearest
from harness.core.settings import ALLOW_UNREGISTERED, StrictSettings

METRICS = tuple(entry.key for entry in BUILTIN_METRICS.values() if entry.is_objective)


class ObjectiveConfig(StrictSettings):
    """The one metric a study optimises: one of METRICS, or `val/<name>` of the user's own."""

    metric: str = "val/dice_loss"
    direction: Direction = Field("minimize", description="absent: the better way of that metric")

    @property
    def is_builtin(self) -> bool:
        """Whether it is one of METRICS, which lie in [0, 1]."""
        return self.metric in METRICS

    def is_possible_value(self, value: float) -> bool:
        """Whether the metric can have this value: finite, and of ours in [0, 1]."""
        return math.isfinite(value) and (not self.is_builtin or 0.0 <= value <= 1.0)

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, metric: str, info: ValidationInfo) -> str:
        names = metric_names()
        if metric not in names and not (info.context or {}).get(ALLOW_UNREGISTERED):
            raise ValueError(f"no such metric {metric!r}{suggest_nearest(metric, names)}")
        return metric

    @model_validator(mode="before")
    @classmethod
    def _fill_direction(cls, value: Any) -> Any:
        if isinstance(value, dict) and "direction" not in value:
            direction = _metric_direction(value.get("metric", "val/dice_loss"))
            return value if direction is None else {**value, "direction": direction}
        return value

    @model_validator(mode="after")
    def _check_direction(self) -> Self:
        expected = _metric_direction(self.metric)
        if expected is not None and self.direction != expected:
            raise ValueError(f"direction of {self.metric} must be {expected}")
        return self


def metric_names() -> tuple[str, ...]:
    """Every metric that can be an objective: ours, then those that others have registered."""
    return tuple(entry.key for entry in metrics().values() if entry.is_objective)


def objective_override(metric: str | None) -> dict[str, dict[str, str]]:
    """The group `objective` of study.yaml for `--objective`; the direction follows from the metric.

    Raises:
        ConfigError: no such metric; the message names those that there are.
    """
    if metric is None:
        return {}
    if metric not in metric_names():
        names = ", ".join(metric_names())
        hint = suggest_nearest(metric, metric_names(), max_listed=0)
        raise ConfigError(f"--objective {metric}: no such metric{hint}; the metrics are {names}")
    return {"objective": {"metric": metric, "direction": _metric_direction(metric) or "minimize"}}


def _metric_direction(metric: Any) -> Direction | None:
    """The better way of a metric that can be an objective; None if it is not registered here."""
    if metric not in metric_names():
        return None
    return metrics()[str(metric).removeprefix("val/")].direction
