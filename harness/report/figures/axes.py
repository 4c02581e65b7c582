"""A parameter as an axis: linear, logarithmic, or a list of choices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.records import TrialRecord
from harness.report.wording import text_of


@dataclass(frozen=True)
class Axis:
    """The values that some trials took.

    Attributes:
        choices: texts of a `choice` scale in order; a value's place is its index.
        low: smallest value met, for the other scales.
        high: largest value met, for the other scales.
    """

    key: str
    scale: Literal["linear", "log", "choice"]
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0

    @property
    def varies(self) -> bool:
        return len(self.choices) > 1 if self.scale == "choice" else self.low < self.high

    def position(self, value: Any) -> float:
        """Where a value lies between the ends, 0 to 1; 0.5 where there is only one place."""
        if self.scale == "choice":
            low, high, place = (
                0.0,
                len(self.choices) - 1.0,
                self.choices.index(text_of(value)) + 0.0,
            )
        elif self.scale == "log":
            low, high, place = math.log10(self.low), math.log10(self.high), math.log10(value)
        else:
            low, high, place = self.low, self.high, float(value)
        return 0.5 if low == high else (place - low) / (high - low)


def parameter_axis(key: str, records: Sequence[TrialRecord]) -> Axis | None:
    """The axis of a parameter over the values these trials took; None if none had it in force."""
    values = [record.params[key] for record in records if key in record.params]
    if not values:
        return None
    shapes = [_attributes(record, key) for record in records if key in record.params]
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values) or any("choices" in shape for shape in shapes):
        order = [text_of(choice) for shape in shapes for choice in shape.get("choices", ())]
        met = {text_of(value) for value in values}
        known = [choice for choice in dict.fromkeys(order) if choice in met]
        if len(numbers) == len(values):  # among numbers, the order of writing means nothing
            known = [text_of(value) for value in sorted(set(values), key=_number)]
        return Axis(key, "choice", tuple(dict.fromkeys([*known, *sorted(met)])))
    log = min(numbers) > 0 and all(shape.get("log") for shape in shapes)
    return Axis(key, "log" if log else "linear", (), min(numbers), max(numbers))


def log_ticks(axis: Axis) -> dict[str, Any]:
    """Ticks of a logarithmic axis: 1, 2, 5 of each decade while they are few, else fewer."""
    inside: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{decade}") for decade in range(-12, 13) for step in steps]
        inside = [t for t in ticks if axis.low / 1.5 <= t <= axis.high * 1.5]
        if len(inside) <= 6:
            break
    return {"type": "log", "tickvals": inside, "ticktext": [_power(tick) for tick in inside]}


def _number(value: Any) -> float:
    return float(value)


def _power(value: float) -> str:
    return f"{value:g}" if 0.001 <= value < 10_000 else f"{value:.0e}".replace("e-0", "e-")


def _attributes(record: TrialRecord, key: str) -> dict[str, Any]:
    attributes = record.distributions.get(key, {}).get("attributes", {})
    return attributes if isinstance(attributes, dict) else {}
