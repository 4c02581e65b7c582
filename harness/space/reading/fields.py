"""Read the fields of one parameter: `choices` to a `Categorical`, `low` and `high` to a range."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from harness.core.errors import suggest_nearest
from harness.space.keys import accepts_floats, setting_problem
from harness.space.parameters import (
    Categorical,
    FloatRange,
    IntRange,
    Parameter,
    format_value,
    is_number,
)
from harness.space.space import AllowedValues

FIELDS = ("choices", "low", "high", "step", "log", "when")
# Names of a W&B sweep configuration, accepted so that its parameters can be copied.
_WANDB_NAMES = {"values": "choices", "min": "low", "max": "high"}
MAX_CHOICES = 1000
MAX_STEPS = 1_000_000  # of a float range; a finer step hardly differs from a range without step

FieldProblem = tuple[str, str]  # (field, what is wrong)
ProblemCallback = Callable[[str, str], None]


def read_parameter(
    key: str, raw: Any, legal: AllowedValues, add_problem: ProblemCallback
) -> Parameter | None:
    """The parameter without its `when`; None if there are problems.

    Args:
        key: The full key.
        raw: The fields as written in the document, e.g. `{"low": 3, "high": 5}`.
        legal: Legal values.
        add_problem: Callback for each problem, with the name of the field and the message.
    """
    if not isinstance(raw, dict):
        yaml_list = raw if isinstance(raw, list) else f"[{format_value(raw)}]"
        form = f"{{choices: {yaml_list}}} or {{low: …, high: …}}"
        add_problem("", f"write {form}; put a single value under fixed:")
        return None
    fields = _normalize_field_names(raw, add_problem)
    if fields is None:
        return None
    if "choices" in fields:
        return _read_categorical(key, fields, legal, add_problem)
    return _read_range(key, fields, legal, add_problem)


def _normalize_field_names(
    raw: dict[str, Any], add_problem: ProblemCallback
) -> dict[str, Any] | None:
    """The fields with W&B's names translated; None if one is unknown or given twice."""
    fields: dict[str, Any] = {}
    valid = True
    for name, value in raw.items():
        canonical = "choices" if name == "value" else _WANDB_NAMES.get(name, name)
        if canonical not in FIELDS:
            add_problem(
                name,
                f"{name}: unknown field{suggest_nearest(name, (*FIELDS, *_WANDB_NAMES, 'value'))}",
            )
            valid = False
        elif canonical in fields:
            add_problem(name, f"{name} means the same as another field, {canonical}; keep one")
            valid = False
        fields[canonical] = [value] if name == "value" else value
    return fields if valid else None


def _read_categorical(
    key: str, fields: dict[str, Any], legal: AllowedValues, add_problem: ProblemCallback
) -> Categorical | None:
    choices = fields["choices"]
    range_fields = [name for name in ("low", "high", "step", "log") if name in fields]
    if range_fields:
        message = f"choices cannot be combined with {', '.join(range_fields)}; keep one kind"
        add_problem("choices", message)
        return None
    if not isinstance(choices, list) or not 0 < len(choices) <= MAX_CHOICES:
        add_problem("choices", f"choices must be a list of 1 to {MAX_CHOICES} values")
        return None
    valid = True
    seen: set[Any] = set()
    for value in choices:
        problem = setting_problem(key, value, legal)
        if problem is None:
            stored = Categorical(key, ()).to_optuna(value)
            # By Python's equality, as Optuna compares (CategoricalDistribution.to_internal_repr
            # uses tuple.index): it cannot tell 1, 1.0 and true apart.
            problem = f"{format_value(value)} appears twice" if stored in seen else None
            seen.add(stored)
        if problem is not None:
            add_problem("choices", problem)
            valid = False
    return Categorical(key, tuple(choices)) if valid else None


def _read_range(
    key: str, fields: dict[str, Any], legal: AllowedValues, add_problem: ProblemCallback
) -> IntRange | FloatRange | None:
    bounds = _read_bounds(key, fields, legal, add_problem)
    if bounds is None:
        return None
    low, high = bounds
    step, log = fields.get("step"), fields.get("log", False)
    problem = _order_problem(low, high, log) or _step_problem(low, high, step, log)
    is_integer = isinstance(low, int) and isinstance(high, int) and isinstance(step, int | None)
    if problem is None and is_integer and step is None and not log:
        problem = _integer_pair_problem(key, low, high)
    if problem is None and not is_integer:
        # Whole bounds with a fractional step are legal one by one: a float range on a setting that
        # accepts whole numbers only is refused here.
        type_problem = setting_problem(key, float(low), legal)
        problem = None if type_problem is None else ("low", f"low: {type_problem}")
    if problem is not None:
        add_problem(*problem)
        return None
    if is_integer:
        return IntRange(key, int(low), int(high), 1 if step is None else step, log)
    return FloatRange(key, float(low), float(high), None if step is None else float(step), log)


def _read_bounds(
    key: str, fields: dict[str, Any], legal: AllowedValues, add_problem: ProblemCallback
) -> tuple[Any, Any] | None:
    missing = [name for name in ("low", "high") if name not in fields]
    if missing:
        add_problem(
            "", f"{' and '.join(missing)} missing; a parameter has choices, or low and high"
        )
        return None
    valid = True
    for name in ("low", "high"):
        value = fields[name]
        problem = setting_problem(key, value, legal)
        if problem is None and not is_number(value):
            problem = f"must be a number (got {format_value(value)})"
        if problem is not None:
            add_problem(name, f"{name}: {problem}")
            valid = False
    return (fields["low"], fields["high"]) if valid else None


def _order_problem(low: Any, high: Any, log: Any) -> FieldProblem | None:
    if low > high:
        return "low", f"low {format_value(low)} is above high {format_value(high)}; swap them"
    if not isinstance(log, bool):
        return "log", f"log must be true or false (got {format_value(log)})"
    if log and low <= 0:
        return "low", f"log needs low above 0 (got {format_value(low)})"
    return None


def _step_problem(low: Any, high: Any, step: Any, log: bool) -> FieldProblem | None:
    if step is None:
        return None
    if not is_number(step) or step <= 0:
        return "step", f"step must be a number above 0 (got {format_value(step)})"
    if log and not (step == 1 and isinstance(low, int) and isinstance(high, int)):
        return "step", "step cannot be combined with log; keep one"
    # Optuna would lower `high` with a warning only (_adjust_discrete_uniform_high), and a value
    # that a space names would never be drawn. Computed in decimals, as in Optuna.
    start, end, width = (Decimal(str(n)) for n in (low, high, step))
    if (end - start) / width >= MAX_STEPS and not all(
        isinstance(n, int) for n in (low, high, step)
    ):
        message = f"step {step} makes more than {MAX_STEPS:,} values"
        return "step", f"{message}; use a larger step, or omit it to allow every number in between"
    if (end - start) % width == 0:
        return None
    last = start + (end - start) // width * width
    return "high", f"high {high} is not reached from {low} in steps of {step}; write {last}"


def _integer_pair_problem(key: str, low: int, high: int) -> FieldProblem | None:
    """Problem of `{low: 0, high: 1}` on a float setting, which allows 0 and 1 only.

    Two whole bounds mean whole numbers, but a user who writes this hardly intends it.
    """
    if high - low != 1 or not accepts_floats(key):
        return None
    return "high", (
        f"two whole numbers allow only {low} and {high}; write {low}.0 and {high}.0 "
        f"to allow every number in between, or choices: [{low}, {high}]"
    )
