"""From the fields of one parameter (`choices`, or `low` and `high`) to a `Choice` or a range."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from harness.errors import nearest
from harness.space.keys import problem_with, takes_fractions
from harness.space.parameters import Choice, Parameter, Real, Whole, is_number, shown
from harness.space.schema import Legal

FIELDS = ("choices", "low", "high", "step", "log", "when")
_SWEEPS = {"values": "choices", "min": "low", "max": "high"}  # the words of W&B
MAX_CHOICES = 1000
MAX_STEPS = 1_000_000  # of a fraction; finer ones are meant as any number between

Problem = tuple[str, str]  # (field, what is wrong)
Note = Callable[[str, str], None]


def read_parameter(key: str, written: Any, legal: Legal, note: Note) -> Parameter | None:
    """The parameter without its `when`, or None after noting every problem.

    Args:
        key: The full key.
        written: What stands under it, e.g. `{"low": 3, "high": 5}`.
        legal: Legal values.
        note: Called with the field and the problem.
    """
    if not isinstance(written, dict):
        inside = written if isinstance(written, list) else f"[{shown(written)}]"
        note("", f"write {{choices: {inside}}} or {{low: …, high: …}}; one value goes under fixed:")
        return None
    fields = _own_words(written, note)
    if fields is None:
        return None
    if "choices" in fields:
        return _read_choice(key, fields, legal, note)
    return _read_range(key, fields, legal, note)


def _own_words(written: dict[str, Any], note: Note) -> dict[str, Any] | None:
    """The fields with W&B's words translated; None after noting one that is unknown or double."""
    fields: dict[str, Any] = {}
    good = True
    for name, value in written.items():
        own = "choices" if name == "value" else _SWEEPS.get(name, name)
        if own not in FIELDS:
            note(name, f"{name}: no such field{nearest(name, (*FIELDS, *_SWEEPS, 'value'))}")
            good = False
        elif own in fields:
            note(name, f"{name} says the same as another field, {own}; keep one")
            good = False
        fields[own] = [value] if name == "value" else value
    return fields if good else None


def _read_choice(key: str, fields: dict[str, Any], legal: Legal, note: Note) -> Choice | None:
    choices = fields["choices"]
    beside = [name for name in ("low", "high", "step", "log") if name in fields]
    if beside:
        note("choices", f"choices beside {', '.join(beside)}; keep one kind")
        return None
    if not isinstance(choices, list) or not 0 < len(choices) <= MAX_CHOICES:
        note("choices", f"choices must be a list of 1 to {MAX_CHOICES} values")
        return None
    good = True
    seen: set[Any] = set()
    for value in choices:
        problem = problem_with(key, value, legal)
        if problem is None:
            stored = Choice(key, ()).stored(value)
            # By Python's equality, as Optuna compares: 1, 1.0 and true are one choice to it.
            problem = f"{shown(value)} stands twice" if stored in seen else None
            seen.add(stored)
        if problem is not None:
            note("choices", problem)
            good = False
    return Choice(key, tuple(choices)) if good else None


def _read_range(key: str, fields: dict[str, Any], legal: Legal, note: Note) -> Whole | Real | None:
    ends = _ends(key, fields, legal, note)
    if ends is None:
        return None
    low, high = ends
    step, log = fields.get("step"), fields.get("log", False)
    problem = _order_problem(low, high, log) or _step_problem(low, high, step, log)
    whole = isinstance(low, int) and isinstance(high, int) and isinstance(step, int | None)
    if problem is None and whole and step is None and not log:
        problem = _pair_problem(key, low, high)
    if problem is None and not whole:
        # A float range on a setting that takes whole numbers only is refused here.
        illegal = problem_with(key, float(low), legal)
        problem = None if illegal is None else ("low", f"low: {illegal}")
    if problem is not None:
        note(*problem)
        return None
    if whole:
        return Whole(key, int(low), int(high), 1 if step is None else step, log)
    return Real(key, float(low), float(high), None if step is None else float(step), log)


def _ends(key: str, fields: dict[str, Any], legal: Legal, note: Note) -> tuple[Any, Any] | None:
    missing = [name for name in ("low", "high") if name not in fields]
    if missing:
        note("", f"{' and '.join(missing)} missing; a parameter has choices, or low and high")
        return None
    good = True
    for name in ("low", "high"):
        value = fields[name]
        problem = problem_with(key, value, legal)
        if problem is None and not is_number(value):
            problem = f"must be a number (got {shown(value)})"
        if problem is not None:
            note(name, f"{name}: {problem}")
            good = False
    return (fields["low"], fields["high"]) if good else None


def _order_problem(low: Any, high: Any, log: Any) -> Problem | None:
    if low > high:
        return "low", f"low {shown(low)} is above high {shown(high)}; swap them"
    if not isinstance(log, bool):
        return "log", f"log must be true or false (got {shown(log)})"
    if log and low <= 0:
        return "low", f"a logarithm needs low above 0 (got {shown(low)})"
    return None


def _step_problem(low: Any, high: Any, step: Any, log: bool) -> Problem | None:
    if step is None:
        return None
    if not is_number(step) or step <= 0:
        return "step", f"step must be a number above 0 (got {shown(step)})"
    if log and not (step == 1 and isinstance(low, int) and isinstance(high, int)):
        return "step", "step has no meaning beside log; keep one"
    # Optuna would lower `high` with a warning; say it instead, in decimals as Optuna counts.
    start, end, width = (Decimal(str(n)) for n in (low, high, step))
    if (end - start) / width >= MAX_STEPS and not all(
        isinstance(n, int) for n in (low, high, step)
    ):
        what = f"step {step} makes more than {MAX_STEPS:,} values"
        return "step", f"{what}; leave it out for any number between, or take a larger one"
    if (end - start) % width == 0:
        return None
    last = start + (end - start) // width * width
    return "high", f"high {high} is not reached from {low} in steps of {step}; write {last}"


def _pair_problem(key: str, low: int, high: int) -> Problem | None:
    """`{low: 0, high: 1}` on a float setting: whole numbers by the rule, hardly by intention."""
    if high - low != 1 or not takes_fractions(key):
        return None
    return "high", (
        f"two whole numbers allow only {low} and {high}; write {low}.0 and {high}.0 "
        f"for all between, or choices: [{low}, {high}]"
    )
