"""Cells and columns of a sheet: displayed text, sort key, and hint."""

from dataclasses import dataclass
from typing import Any

from harness.config.measurements import COSTS
from harness.core.text import display_value, truncate


@dataclass(frozen=True)
class SheetColumn:
    """Heading; `hint` is the full name and unit; `kind` is number, wrap (long text) or ""."""

    title: str
    hint: str
    kind: str = "number"


@dataclass(frozen=True)
class SheetCell:
    """Displayed text, sort key `order` ("" sorts last) and hover text `exact` with all digits.

    Attributes:
        points: points of a small curve that is drawn instead of the text, as SVG writes them.
    """

    text: str
    order: str
    exact: str = ""
    points: str = ""


INACTIVE_CELL = SheetCell("–", "", "not active in this trial")
UNRECORDED_CELL = SheetCell("", "", "not recorded")


def value_cell(value: Any) -> SheetCell:
    """Cell of a parameter's value: short text, with the exact value on hovering."""
    # repr is the shortest text that reads back as the same number.
    exact = repr(value) if is_number(value) else display_value(value)
    return SheetCell(truncate(display_value(value), 40), exact, exact)


def integer_cell(value: int) -> SheetCell:
    """Cell of a whole number."""
    return SheetCell(str(value), str(value))


def metric_cell(value: float | None) -> SheetCell:
    """Cell of a metric: four decimals, all digits on hovering."""
    return UNRECORDED_CELL if value is None else SheetCell(f"{value:.4f}", repr(value), repr(value))


def cost_cell(key: str, value: float | None) -> SheetCell:
    """Cell of a cost such as `cost/seconds`, in the unit of its key; None: not recorded."""
    if value is None:
        return UNRECORDED_CELL
    return SheetCell(COSTS[key].format(value), repr(value), repr(value))


def is_number(value: Any) -> bool:
    """True for an int or float that is not a bool."""
    # bool is a subclass of int in Python.
    return isinstance(value, int | float) and not isinstance(value, bool)
