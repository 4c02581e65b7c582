"""A parameter as an axis: linear, logarithmic, or a list of choices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.core.records import TrialRecord
from harness.core.text import display_value


@dataclass(frozen=True)
class ParameterAxis:
    """Scale of a parameter over the values of some trials.

    Attributes:
        choices: texts of a `choice` scale in order; the position of a value is its index.
        low: smallest value in the trials, for the other scales.
        high: largest value in the trials, for the other scales.
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
        """Position of a value between the ends, 0 to 1; 0.5 on an axis with a single value."""
        if self.scale == "choice":
            low, high, coordinate = (
                0.0,
                len(self.choices) - 1.0,
                self.choices.index(display_value(value)) + 0.0,
            )
        elif self.scale == "log":
            low, high, coordinate = math.log10(self.low), math.log10(self.high), math.log10(value)
        else:
            low, high, coordinate = self.low, self.high, float(value)
        return 0.5 if low == high else (coordinate - low) / (high - low)


def parameter_axis(key: str, records: Sequence[TrialRecord]) -> ParameterAxis | None:
    """Build the axis of a parameter over its values in trials; None if it was never active."""
    active = [record for record in records if key in record.params]
    if not active:
        return None
    values = [record.params[key] for record in active]
    attributes = [_distribution_attributes(record, key) for record in active]
    # bool is a subclass of int, but a switch is a choice and not a number between 0 and 1.
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values) or any("choices" in attribute for attribute in attributes):
        order = [
            display_value(choice)
            for attribute in attributes
            for choice in attribute.get("choices", ())
        ]
        present = {display_value(value) for value in values}
        choices = [choice for choice in dict.fromkeys(order) if choice in present]
        if len(numbers) == len(values):  # numbers have an order of their own, whatever the file's
            choices = [display_value(value) for value in sorted(set(values), key=_as_float)]
        return ParameterAxis(key, "choice", tuple(dict.fromkeys([*choices, *sorted(present)])))
    # Imported trials can come from a space in which the parameter was linear: then the axis is too.
    log = min(numbers) > 0 and all(attribute.get("log") for attribute in attributes)
    return ParameterAxis(key, "log" if log else "linear", (), min(numbers), max(numbers))


def log_ticks(axis: ParameterAxis) -> dict[str, Any]:
    """Ticks of a logarithmic axis: 1, 2, 5 of each decade if that gives at most six, else fewer."""
    inside: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        # Parsed from text: 3 * 10**-4 is 0.00030000000000000003 and would be labelled so.
        ticks = [float(f"{step}e{decade}") for decade in range(-12, 13) for step in steps]
        inside = [t for t in ticks if axis.low / 1.5 <= t <= axis.high * 1.5]
        if len(inside) <= 6:
            break
    return {"type": "log", "tickvals": inside, "ticktext": [_tick_text(tick) for tick in inside]}


def _as_float(value: Any) -> float:
    return float(value)


def _tick_text(value: float) -> str:
    return f"{value:g}" if 0.001 <= value < 10_000 else f"{value:.0e}".replace("e-0", "e-")


def _distribution_attributes(record: TrialRecord, key: str) -> dict[str, Any]:
    attributes = record.distributions.get(key, {}).get("attributes", {})
    return attributes if isinstance(attributes, dict) else {}
