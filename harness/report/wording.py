"""Values as people read them, the same in tables, figures and sentences."""

from collections.abc import Iterable
from typing import Any

from harness.wording import be, count, plural

__all__ = [
    "among",
    "be",
    "count",
    "decides",
    "duration",
    "plural",
    "short",
    "span",
    "text_of",
]


def text_of(value: Any) -> str:
    """A parameter's value: four digits of a float, `null` for None."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def short(text: str, most: int = 24) -> str:
    """The text cut to `most` characters, an ellipsis at the cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def duration(seconds: float) -> str:
    """`4.5 s`, `45 s`, `3 min 20 s`, `2 h 5 min`: two units at most."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def among(texts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    every = list(texts)
    return " and ".join(part for part in (", ".join(every[:-1]), *every[-1:]) if part)


def span(values: Iterable[Any]) -> str:
    """The range of numbers, `3 to 5`, or the one value; other values are listed; "" of none."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(v, int | float) and not isinstance(v, bool) for v in known):
        ends = dict.fromkeys([text_of(min(known)), text_of(max(known))])
        return " to ".join(ends)
    return among(dict.fromkeys(text_of(value) for value in known))


def decides(task: str) -> str:
    """What makes a decision of probabilities, `p ≥ 0.5` or `argmax`."""
    return "argmax" if task == "multiclass" else "p ≥ 0.5"
