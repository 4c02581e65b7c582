"""Objective of a study: the metric that it optimises, and the order of values and trials."""

import math
from collections.abc import Iterable
from typing import Any, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from harness.config.catalogue import Direction
from harness.config.components import metrics
from harness.config.measurements import BUILTIN_METRICS
from harness.core.errors import ConfigError, suggest_nearest
from harness.core.records import TrialRecord
from harness.core.settings import ALLOW_UNREGISTERED, StrictSettings

METRICS = tuple(entry.key for entry in BUILTIN_METRICS.values() if entry.is_objective)


class ObjectiveConfig(StrictSettings):
    """Metric that a study optimises: one of METRICS, or `val/<name>` of a registered metric."""

    metric: str = "val/dice_loss"
    direction: Direction = Field("minimize", description="default: the direction of the metric")

    @property
    def is_builtin(self) -> bool:
        """True for a metric of METRICS; their values lie in [0, 1]."""
        return self.metric in METRICS

    @property
    def minimized(self) -> bool:
        """True if lower values are better."""
        return self.direction == "minimize"

    def better(self, value: float, other: float) -> bool:
        """True if `value` is better than `other`; False for equal values."""
        return value < other if self.minimized else value > other

    def sort_key(self, value: float) -> float:
        """Key for sorting values, the best first."""
        return value if self.minimized else -value

    def ranked(self, records: Iterable[TrialRecord]) -> list[TrialRecord]:
        """Complete trials with a finite value, best first; equal values in order of number."""
        # A pruned trial's value comes from fewer epochs and is not comparable. Infinite values are
        # refused in a study, so they come from files that another program wrote.
        complete = [
            (self.sort_key(record.value), record.number, record)
            for record in records
            if record.state == "complete"
            and record.value is not None
            and math.isfinite(record.value)
        ]
        return [record for *_, record in sorted(complete, key=lambda item: item[:2])]

    def best(self, records: Iterable[TrialRecord]) -> TrialRecord | None:
        """Best complete trial, the first of `ranked`; None if no trial is ranked."""
        return next(iter(self.ranked(records)), None)

    def is_possible_value(self, value: float) -> bool:
        """True if the metric can have this value: finite, and in [0, 1] if it is built in."""
        # Optuna 5 accepts infinite values as complete, and +inf then stays the best for ever when a
        # metric is maximised (measured), so they are refused before they reach it.
        return math.isfinite(value) and (not self.is_builtin or 0.0 <= value <= 1.0)

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, metric: str, info: ValidationInfo) -> str:
        names = metric_names()
        if metric not in names and not (info.context or {}).get(ALLOW_UNREGISTERED):
            raise ValueError(f"unknown metric {metric!r}{suggest_nearest(metric, names)}")
        return metric

    @model_validator(mode="before")
    @classmethod
    def _fill_direction(cls, value: Any) -> Any:
        if isinstance(value, dict) and "direction" not in value:
            # The default of the field fits the default metric only.
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
    """Keys of all metrics that can be an objective, the built-in ones first."""
    return tuple(entry.key for entry in metrics().values() if entry.is_objective)


def objective_override(metric: str | None) -> dict[str, dict[str, str]]:
    """Group `objective` of study.yaml for `--objective`, with the direction of the metric.

    Returns:
        {} for None, which keeps the objective of the definition.

    Raises:
        ConfigError: unknown metric; the message lists all metrics.
    """
    if metric is None:
        return {}
    if metric not in metric_names():
        names = ", ".join(metric_names())
        hint = suggest_nearest(metric, metric_names(), max_listed=0)
        raise ConfigError(f"--objective {metric}: unknown metric{hint}; the metrics are {names}")
    return {"objective": {"metric": metric, "direction": _metric_direction(metric) or "minimize"}}


def _metric_direction(metric: Any) -> Direction | None:
    """Direction of a metric that can be an objective; None if it is not registered here."""
    if metric not in metric_names():
        return None
    return metrics()[str(metric).removeprefix("val/")].direction
