"""Cells and columns of a table: the text shown, the value to sort by, the hint."""

from dataclasses import dataclass
from typing import Any

from harness.config.measurements import COSTS
from harness.core.text import display_value, truncate


@dataclass(frozen=True)
class SheetColumn:
    """A heading; `hint` is the full name and unit; `kind` is number, wrap (long texts) or ""."""

    title: str
    hint: str
    kind: str = "number"


@dataclass(frozen=True)
class SheetCell:
    """What is shown; `order` is what sorting compares ("" sorts last); `exact`: all digits."""

    text: str
    order: str
    exact: str = ""


INACTIVE_CELL = SheetCell("–", "", "not in force")


UNRECORDED_CELL = SheetCell("", "", "not recorded")


def value_cell(value: Any) -> SheetCell:
    """Cell of a parameter's value: its short text, and the exact one on hovering."""
    exact = repr(value) if is_number(value) else display_value(value)
    return SheetCell(truncate(display_value(value), 40), exact, exact)


def integer_cell(value: int) -> SheetCell:
    """Cell of a whole number."""
    return SheetCell(str(value), str(value))


def metric_cell(value: float | None) -> SheetCell:
    """A metric: four places shown, all of them on hovering."""
    return UNRECORDED_CELL if value is None else SheetCell(f"{value:.4f}", repr(value), repr(value))


def cost_cell(key: str, value: float | None) -> SheetCell:
    """Cell of a cost such as `cost/seconds`, in the unit of its key; None: not recorded."""
    if value is None:
        return UNRECORDED_CELL
    return SheetCell(COSTS[key].format(value), repr(value), repr(value))


def is_number(value: Any) -> bool:
    """True for a number that is not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)
