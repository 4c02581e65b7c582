"""Read and write one cell of a CSV file, so that a written value is read back unchanged."""

import json
from enum import Enum
from typing import Any

from harness.core import strict_yaml
from harness.core.errors import ConfigError

# Spreadsheets run cells that begin with one of these as formulas (OWASP, CSV Injection); tab and
# carriage return are stripped before they look.
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")
MAX_CELL_CHARS = 10_000  # the longest legal setting is a list of some hundred numbers
MAX_LABEL_CHARS = 500
NULL_CELLS = ("", "None")


class CellMarker(Enum):
    """Special content of a cell instead of a value."""

    DEFAULT = "default"


def read_cell(text: str) -> Any:
    """The value of a cell: a scalar or list of YAML 1.2, or `CellMarker.DEFAULT` for `default`.

    `None` and an empty cell are null. Text in double quotes is always text. The apostrophe that
    prevents a spreadsheet from running a cell as a formula is removed.

    Raises:
        ConfigError: a malformed list or quoted text, or a number that is too large; the message
            has no location.
    """
    text = text.strip(" ")
    if len(text) > MAX_CELL_CHARS:
        raise ConfigError(f"longer than {MAX_CELL_CHARS:,} characters")
    if text in NULL_CELLS:
        return None
    if text == CellMarker.DEFAULT.value:
        return CellMarker.DEFAULT
    if text[0] == "'" and text[1:].startswith(FORMULA_PREFIXES):
        return text[1:]
    if text[0] in '["':
        try:
            return strict_yaml.load_yaml(text, source="cell").value
        except ConfigError as error:
            message = error.problems[0].partition(": ")[2].removeprefix("not YAML: ")
            raise ConfigError(f"not a list or quoted text: {message}") from None
    try:
        return strict_yaml.parse_scalar(text)
    except ValueError:
        raise ConfigError(f"{text[:40]}: the number is too large") from None


def read_label(text: str) -> str:
    """The text of a label, without the apostrophe that prevents formulas."""
    text = text.strip(" ")
    has_guard = text[:1] == "'" and text[1:].startswith((*FORMULA_PREFIXES, "'"))
    return (text[1:] if has_guard else text)[:MAX_LABEL_CHARS]


def write_cell(value: Any) -> str:
    """The cell of a plain value or of `CellMarker.DEFAULT`, which `read_cell` reads back."""
    if isinstance(value, CellMarker):
        return value.value
    if value is None:
        return "None"
    if isinstance(value, float):
        return repr(value)  # the shortest text that is read back as the same float
    if not isinstance(value, str):
        return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    if value.startswith(FORMULA_PREFIXES) and value == value.strip(" "):
        return f"'{value}"
    return value if _reads_back_as_text(value) else json.dumps(value, ensure_ascii=False)


def write_label(text: str) -> str:
    """The cell of a label, which `read_label` reads back."""
    return f"'{text}" if text.startswith((*FORMULA_PREFIXES, "'")) else text


def _reads_back_as_text(value: str) -> bool:
    """True if the text needs no quotes: "1e-3", "null" or "default" would become other values."""
    if value != value.strip() or value[:1] == "'":
        return False
    try:
        return bool(read_cell(value) == value)
    except ConfigError:
        return False
