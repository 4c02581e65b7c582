"""Read the conditions of `when` and `forbid`, and sort parameters by what their `when` names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.core.errors import ConfigError
from harness.space.keys import full_key, setting_problem
from harness.space.parameters import (
    AnyOf,
    Categorical,
    Condition,
    Match,
    Parameter,
    RangeMatch,
    format_value,
    is_number,
)
from harness.space.reading.problems import DocumentPath, ProblemCollector
from harness.space.space import AllowedValues

_BOUND_NAMES = {"low": "low", "high": "high", "min": "low", "max": "high"}


def read_condition(
    raw: Any,
    path: DocumentPath,
    parameters: Mapping[str, Parameter],
    legal: AllowedValues,
    problems: ProblemCollector,
    name: str,
) -> Condition | None:
    """The condition written as `{key: value, list of values or {low, high}}`, by full keys.

    Args:
        raw: The condition as written in the document.
        path: Path of the condition in the document.
        parameters: The searched parameters; a value that a parameter cannot have is a problem.
        legal: Legal values of settings that are not searched.
        problems: Collector of the problems.
        name: Name of the condition in problems.

    Returns:
        None if there are problems; they are in `problems` then.
    """
    if not isinstance(raw, dict) or not raw:
        problems.add(path, "must name keys and values, e.g. {model.arch: Unet}", name=name)
        return None
    condition: dict[str, Match] = {}
    valid = True
    for short_key, value in raw.items():
        try:
            key = full_key(short_key, legal)
            if key in condition:
                raise ConfigError("appears twice; keep one")
            condition[key] = _read_match(key, value, parameters, legal, problems.unreadable_keys)
        except ConfigError as error:
            for problem in error.problems:
                problems.add((*path, short_key), f"{short_key}: {problem}", name=name)
            valid = False
    return condition if valid else None


def sort_by_dependency(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """The parameters in their order, each moved behind those that its `when` names.

    Circular conditions must have been refused before (see `find_cycle`).
    """
    ordered, cyclic = _topological_sort(parameters)
    assert not cyclic
    return tuple(ordered)


def find_cycle(parameters: Sequence[Parameter]) -> list[str]:
    """Keys of one circular dependency, with the first repeated at the end; [] without a cycle."""
    # Each parameter that could not be sorted depends on another of them, so following these
    # dependencies must return to a key seen before. The start itself need not lie on the circle.
    by_key = {parameter.key: parameter for parameter in _topological_sort(parameters)[1]}
    path = list(by_key)[:1]
    while path:
        next_key = next(key for key in by_key[path[-1]].when if key in by_key)
        if next_key in path:
            return [*path[path.index(next_key) :], next_key]
        path.append(next_key)
    return []


def with_condition(parameter: Parameter, condition: Condition) -> Parameter:
    """The same parameter, active only if `condition` holds."""
    return replace(parameter, when=condition)


def _topological_sort(
    parameters: Sequence[Parameter],
) -> tuple[list[Parameter], list[Parameter]]:
    """The sorted parameters, and those that cannot be sorted because of circular conditions."""
    # Always the first that is ready: conditions change the order only where they must, since the
    # order of parameters decides the order of a grid.
    searched = {parameter.key for parameter in parameters}
    remaining, ordered, sorted_keys = list(parameters), list[Parameter](), set[str]()
    while True:
        ready = next((p for p in remaining if not (searched & set(p.when)) - sorted_keys), None)
        if ready is None:
            return ordered, remaining
        ordered.append(ready)
        sorted_keys.add(ready.key)
        remaining.remove(ready)


def _read_match(
    key: str,
    value: Any,
    parameters: Mapping[str, Parameter],
    legal: AllowedValues,
    unreadable: set[str],
) -> Match:
    """The match of one key. Raises ConfigError, without location, for values it cannot have."""
    if isinstance(value, dict):
        return _read_range_match(key, value, parameters.get(key))
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ConfigError("an empty list never matches; list at least one value")
    if key in unreadable:  # its range is unknown, and its own problem is reported already
        return AnyOf(tuple(values))
    parameter = parameters.get(key)
    if parameter is None:
        problems = [setting_problem(key, item, legal) for item in values]
    else:
        problems = [outside_problem(parameter, item) for item in values]
    messages = [problem for problem in problems if problem is not None]
    if messages:
        raise ConfigError(messages)
    return AnyOf(tuple(values if parameter is None else map(parameter.canonical, values)))


def outside_problem(parameter: Parameter, value: Any) -> str | None:
    """Reason why a parameter cannot have this value; None if it can."""
    if parameter.contains(value):
        return None
    if isinstance(parameter, Categorical):
        return f"{format_value(value)} is not among its choices {_format_values(parameter.choices)}"
    steps = "" if parameter.step in (None, 1) else f" in steps of {parameter.step}"
    number_kind = "" if isinstance(parameter.low, float) else "whole numbers "
    extent = f"{number_kind}{parameter.low} to {parameter.high}{steps}"
    return f"{format_value(value)} is outside the searched range, {extent}"


def _format_values(values: Sequence[Any]) -> str:
    texts = (value if isinstance(value, str) else format_value(value) for value in values)
    return f"[{', '.join(texts)}]"


def _read_range_match(key: str, raw: dict[str, Any], parameter: Parameter | None) -> RangeMatch:
    bounds: dict[str, Any] = {"low": None, "high": None}
    for name, bound in raw.items():
        if name not in _BOUND_NAMES:
            raise ConfigError(f"{name}: unknown field of a range; choose from low, high")
        if not is_number(bound):
            raise ConfigError(f"{name} must be a number (got {format_value(bound)})")
        bounds[_BOUND_NAMES[name]] = bound
    low, high = bounds["low"], bounds["high"]
    if low is None and high is None:
        raise ConfigError("a range needs low, high or both")
    if low is not None and high is not None and low > high:
        raise ConfigError(f"low {format_value(low)} is above high {format_value(high)}; swap them")
    match = RangeMatch(low, high)
    if parameter is not None and not _overlaps(parameter, match):
        raise ConfigError(f"no searched value of {key} lies in this range")
    return match


def _overlaps(parameter: Parameter, match: RangeMatch) -> bool:
    """True if a parameter may have a value in the range; steps are not taken into account."""
    if isinstance(parameter, Categorical):
        return any(match.holds(value) for value in parameter.choices)
    below = match.high is not None and match.high < parameter.low
    return not below and not (match.low is not None and match.low > parameter.high)
