"""Format values for readers, in the same way in tables, figures and sentences."""

from collections.abc import Iterable
from typing import Any, Final

# A spreadsheet runs cells with these first characters as formulas; it strips a leading tab or
# return first (CSV injection, OWASP).
_FORMULA_PREFIXES: Final = ("=", "+", "-", "@", "\t", "\r")


def quote_formula(text: str) -> str:
    """Escape the text of a CSV cell by an apostrophe if a spreadsheet would run it as a formula."""
    return f"'{text}" if text.startswith(_FORMULA_PREFIXES) else text


def display_value(value: Any) -> str:
    """Format the value of a parameter: four digits of a float, `null` for None."""
    if value is None:
        return "null"
    if isinstance(value, bool):  # before numbers, as in YAML: `true`, not Python's `True`
        return "true" if value else "false"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def truncate(text: str, max_length: int = 24) -> str:
    """Cut a text to `max_length` characters, the last of which is then an ellipsis."""
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"


def format_duration(seconds: float) -> str:
    """Format seconds in at most two units: `4.5 s`, `45 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 9.95:  # from here on one decimal would print 10.0
        return f"{round(seconds, 1):g} s"
    # Rounded before the division: 59.6 s is 1 min 0 s, never 60 s, and 3599.6 s is 1 h 0 min.
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def join_words(texts: Iterable[str]) -> str:
    """Join texts as in a sentence: `a`, `a and b`, `a, b and c`."""
    all_texts = list(texts)
    return " and ".join(part for part in (", ".join(all_texts[:-1]), *all_texts[-1:]) if part)


def format_range(values: Iterable[Any]) -> str:
    """Format the range of numbers, `3 to 5` or `3`; list other values; "" without a value."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(v, int | float) and not isinstance(v, bool) for v in present):
        # Compared as texts: ends that agree in four digits are one value to a reader.
        ends = dict.fromkeys([display_value(min(present)), display_value(max(present))])
        return " to ".join(ends)
    return join_words(dict.fromkeys(display_value(value) for value in present))


def decision_rule(task: str) -> str:
    """Rule that turns probabilities into a decision, `p ≥ 0.5` or `argmax`."""
    return "argmax" if task == "multiclass" else "p ≥ 0.5"


def plural(noun: str, n: int) -> str:
    """Singular for 1, otherwise plural: `image`, `images`; `class`, `classes`; `copy`, `copies`."""
    if n == 1:
        return noun
    if noun.endswith(("s", "x", "tch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def count(n: int, noun: str) -> str:
    """Number with its noun: `1 image`, `2 images`."""
    return f"{n} {plural(noun, n)}"


def is_or_are(n: int) -> str:
    """Return `is` for 1, otherwise `are`."""
    return "is" if n == 1 else "are"


def has_or_have(n: int) -> str:
    """Return `has` for 1, otherwise `have`."""
    return "has" if n == 1 else "have"


def was_or_were(n: int) -> str:
    """Return `was` for 1, otherwise `were`."""
    return "was" if n == 1 else "were"


def format_bytes(n_bytes: int) -> str:
    """Format a number of bytes, with units of 1000: `512 B`, `3.1 MB`, `12 GB`."""
    size = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 9.95 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
