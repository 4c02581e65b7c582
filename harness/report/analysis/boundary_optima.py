"""Parameters whose best values lie at an end of their range."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from harness.config.study import TrialConfig
from harness.core.errors import ConfigError
from harness.core.records import TrialRecord
from harness.report.tables.study_tables import StudyTables, ranked_records

TOP = 5  # trials, of which most must lie there, the best among them
MIN_TRIALS = 6  # complete trials
EDGE_SHARE = 0.05  # share of the range that is its edge


@dataclass(frozen=True)
class BoundaryOptimum:
    """A parameter, the end of its range, and the best trial's value."""

    key: str
    side: Literal["lower", "upper"]
    bound: float
    value: float


def find_boundary_optima(tables: StudyTables) -> list[BoundaryOptimum]:
    """Numeric parameters at whose edge the best trial lies, and most of the best five.

    An end beyond which the setting itself takes no value is none, and neither is one of a range
    that is only one step wide.
    """
    ranked = ranked_records(tables)
    if len(ranked) < MIN_TRIALS:
        return []
    optima = []
    for key in tables.parameters:
        sides = [_nearest_edge(record, key) for record in ranked[:TOP]]
        first = sides[0]
        if first is not None and sides.count(first) > TOP / 2:
            bound, value = _bounds(ranked[0], key)[first], float(ranked[0].params[key] or 0)
            if _can_extend_range(key, ranked[0], first):
                optima.append(BoundaryOptimum(key, first, bound, value))
    return optima


def _attributes(record: TrialRecord, key: str) -> dict[str, Any]:
    """`low`, `high`, `log` of a numeric parameter; {} for any other and where it is absent."""
    attributes: dict[str, Any] = record.distributions.get(key, {}).get("attributes", {})
    return attributes if key in record.params and "low" in attributes else {}


def _bounds(record: TrialRecord, key: str) -> dict[Literal["lower", "upper"], float]:
    attributes = _attributes(record, key)
    return {"lower": float(attributes["low"]), "upper": float(attributes["high"])}


def _nearest_edge(record: TrialRecord, key: str) -> Literal["lower", "upper"] | None:
    """At which edge a trial lies: in the outer twentieth, of whole numbers at the very end."""
    attributes, value = _attributes(record, key), record.params.get(key)
    if not attributes or isinstance(value, bool | str) or value is None:
        return None
    low, high, number = float(attributes["low"]), float(attributes["high"]), float(value)
    if attributes.get("log"):
        low, high, number = math.log(low), math.log(high), math.log(number)
    if not high > low or (isinstance(value, int) and high - low < 2 and not attributes.get("log")):
        return None
    position = (number - low) / (high - low)
    if position <= EDGE_SHARE:
        return "lower"
    return "upper" if position >= 1 - EDGE_SHARE else None


def _can_extend_range(key: str, record: TrialRecord, side: Literal["lower", "upper"]) -> bool:
    """Whether the trial configuration takes a value a little beyond that end."""
    low, high = _bounds(record, key).values()
    is_integer = isinstance(record.params[key], int)
    step = 1.0 if is_integer else (high - low) / 100
    beyond = low - step if side == "lower" else high + step
    if side == "lower" and _attributes(record, key).get("log"):
        beyond = max(1.0, low // 2) if is_integer else low / 2
    if beyond in (low, high):
        return False
    try:
        TrialConfig.from_flat({key: int(beyond) if is_integer else beyond}, allow_unregistered=True)
    except ConfigError:
        return False
    return True
