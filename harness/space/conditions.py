"""Reading `when` and the rules of `forbid`, and putting parameters behind what they depend on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.errors import ConfigError
from harness.space.keys import full_key, problem_with
from harness.space.parameters import (
    AnyOf,
    Between,
    Choice,
    Condition,
    Match,
    Parameter,
    is_number,
    shown,
)
from harness.space.problems import Problems, Spot
from harness.space.schema import Legal

_SIDES = {"low": "low", "high": "high", "min": "low", "max": "high"}


def read_condition(
    written: Any,
    path: Spot,
    parameters: Mapping[str, Parameter],
    legal: Legal,
    problems: Problems,
    name: str,
) -> Condition | None:
    """`{key: value, list of values or {low, high}}`, by full keys; None after noting problems.

    Args:
        written: As it stands in the document.
        path: Where it stands.
        parameters: What is searched: a value that a parameter cannot take is a problem.
        legal: Legal values of what is not searched.
        problems: Where problems are noted.
        name: What problems call the condition.
    """
    if not isinstance(written, dict) or not written:
        problems.add(path, "must name keys and values, e.g. {model.arch: Unet}", name=name)
        return None
    condition: dict[str, Match] = {}
    good = True
    for short, value in written.items():
        try:
            key = full_key(short, legal)
            if key in condition:
                raise ConfigError("is named twice; keep one")
            condition[key] = _match(key, value, parameters, legal, problems.broken)
        except ConfigError as error:
            for problem in error.problems:
                problems.add((*path, short), f"{short}: {problem}", name=name)
            good = False
    return condition if good else None


def in_order(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Each parameter behind those that its `when` names, else in the order given.

    A circle of conditions must have been refused before.
    """
    ordered, rest = _sorted_and_rest(parameters)
    assert not rest
    return tuple(ordered)


def circle(parameters: Sequence[Parameter]) -> list[str]:
    """Keys whose conditions go in a circle, the first again at the end; [] when none do."""
    by_key = {parameter.key: parameter for parameter in _sorted_and_rest(parameters)[1]}
    path = list(by_key)[:1]
    while path:
        following = next(key for key in by_key[path[-1]].when if key in by_key)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
    return []


def with_condition(parameter: Parameter, condition: Condition) -> Parameter:
    """The same parameter, in force under `condition` only."""
    return replace(parameter, when=condition)


def _sorted_and_rest(
    parameters: Sequence[Parameter],
) -> tuple[list[Parameter], list[Parameter]]:
    searched = {parameter.key for parameter in parameters}
    waiting, ordered, placed = list(parameters), list[Parameter](), set[str]()
    while True:
        ready = next((p for p in waiting if not (searched & set(p.when)) - placed), None)
        if ready is None:
            return ordered, waiting
        ordered.append(ready)
        placed.add(ready.key)
        waiting.remove(ready)


def _match(
    key: str, value: Any, parameters: Mapping[str, Parameter], legal: Legal, broken: set[str]
) -> Match:
    """Raises ConfigError, without a place, for values that the key cannot have."""
    if isinstance(value, dict):
        return _range(key, value, parameters.get(key))
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ConfigError("an empty list never holds; name the values")
    if key in broken:
        return AnyOf(tuple(values))
    parameter = parameters.get(key)
    if parameter is None:
        problems = [problem_with(key, one, legal) for one in values]
    else:
        problems = [outside(parameter, one) for one in values]
    wrong = [problem for problem in problems if problem is not None]
    if wrong:
        raise ConfigError(wrong)
    return AnyOf(tuple(values if parameter is None else map(parameter.canonical, values)))


def outside(parameter: Parameter, value: Any) -> str | None:
    """Why a parameter cannot have this value; None: it can."""
    if parameter.contains(value):
        return None
    if isinstance(parameter, Choice):
        return f"{shown(value)} is not among its choices {_listed(parameter.choices)}"
    steps = "" if parameter.step in (None, 1) else f" in steps of {parameter.step}"
    whole = "" if isinstance(parameter.low, float) else "whole numbers "
    reach = f"{whole}{parameter.low} to {parameter.high}{steps}"
    return f"{shown(value)} is outside what is searched here, {reach}"


def _listed(values: Sequence[Any]) -> str:
    return f"[{', '.join(one if isinstance(one, str) else shown(one) for one in values)}]"


def _range(key: str, written: dict[str, Any], parameter: Parameter | None) -> Between:
    sides: dict[str, Any] = {"low": None, "high": None}
    for name, side in written.items():
        if name not in _SIDES:
            raise ConfigError(f"{name}: a range has low and high, nothing else")
        if not is_number(side):
            raise ConfigError(f"{name} must be a number (got {shown(side)})")
        sides[_SIDES[name]] = side
    low, high = sides["low"], sides["high"]
    if low is None and high is None:
        raise ConfigError("a range needs low, high or both")
    if low is not None and high is not None and low > high:
        raise ConfigError(f"low {shown(low)} is above high {shown(high)}; swap them")
    match = Between(low, high)
    if parameter is not None and not _meets(parameter, match):
        raise ConfigError(f"no value searched for {key} lies in this range")
    return match


def _meets(parameter: Parameter, match: Between) -> bool:
    if isinstance(parameter, Choice):
        return any(match.holds(value) for value in parameter.choices)
    below = match.high is not None and match.high < parameter.low
    return not below and not (match.low is not None and match.low > parameter.high)
