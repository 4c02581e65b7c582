"""Parameters whose best values lie at an end of their range."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from harness.config import TrialConfig
from harness.errors import ConfigError
from harness.records import TrialRecord
from harness.report.tables import StudyTables, ranked_records

TOP = 5  # trials, of which most must lie there, the best among them
FEWEST = 6  # complete trials
OUTER = 0.05  # share of the range that is its edge


@dataclass(frozen=True)
class Edge:
    """A parameter, the end of its range, and the best trial's value."""

    key: str
    side: Literal["lower", "upper"]
    bound: float
    value: float


def edges(tables: StudyTables) -> list[Edge]:
    """Numeric parameters at whose edge the best trial lies, and most of the best five.

    An end beyond which the setting itself takes no value is none, and neither is one of a range
    that is only one step wide.
    """
    ranked = ranked_records(tables)
    if len(ranked) < FEWEST:
        return []
    found = []
    for key in tables.parameters:
        sides = [_side(record, key) for record in ranked[:TOP]]
        first = sides[0]
        if first is not None and sides.count(first) > TOP / 2:
            bound, value = _bounds(ranked[0], key)[first], float(ranked[0].params[key] or 0)
            if _may_be_wider(key, ranked[0], first):
                found.append(Edge(key, first, bound, value))
    return found


def _attributes(record: TrialRecord, key: str) -> dict[str, Any]:
    """`low`, `high`, `log` of a numeric parameter; {} for any other and where it is absent."""
    attributes: dict[str, Any] = record.distributions.get(key, {}).get("attributes", {})
    return attributes if key in record.params and "low" in attributes else {}


def _bounds(record: TrialRecord, key: str) -> dict[Literal["lower", "upper"], float]:
    attributes = _attributes(record, key)
    return {"lower": float(attributes["low"]), "upper": float(attributes["high"])}


def _side(record: TrialRecord, key: str) -> Literal["lower", "upper"] | None:
    """At which edge a trial lies: in the outer twentieth, of whole numbers at the very end."""
    attributes, value = _attributes(record, key), record.params.get(key)
    if not attributes or isinstance(value, bool | str) or value is None:
        return None
    low, high, at = float(attributes["low"]), float(attributes["high"]), float(value)
    if attributes.get("log"):
        low, high, at = math.log(low), math.log(high), math.log(at)
    if not high > low or (isinstance(value, int) and high - low < 2 and not attributes.get("log")):
        return None
    place = (at - low) / (high - low)
    if place <= OUTER:
        return "lower"
    return "upper" if place >= 1 - OUTER else None


def _may_be_wider(key: str, record: TrialRecord, side: Literal["lower", "upper"]) -> bool:
    """Whether the trial configuration takes a value a little beyond that end."""
    low, high = _bounds(record, key).values()
    whole = isinstance(record.params[key], int)
    step = 1.0 if whole else (high - low) / 100
    beyond = low - step if side == "lower" else high + step
    if side == "lower" and _attributes(record, key).get("log"):
        beyond = max(1.0, low // 2) if whole else low / 2
    if beyond in (low, high):
        return False
    try:
        TrialConfig.from_flat({key: int(beyond) if whole else beyond}, any_part=True)
    except ConfigError:
        return False
    return True
