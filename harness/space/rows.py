"""The rows of `enqueue`: configurations to try first, in whole or in part."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.errors import ConfigError
from harness.space.conditions import outside
from harness.space.parameters import Parameter, shown
from harness.space.problems import Problems
from harness.space.schema import Space


def row_value(
    key: str, value: Any, parameters: Mapping[str, Parameter], fixed: Mapping[str, Any]
) -> Any:
    """The value of one cell as its parameter holds it, e.g. 1.0 for 1 in a range of floats.

    Raises:
        ConfigError: the key is not searched, or the value is outside; the message has no place.
    """
    parameter = parameters.get(key)
    if parameter is None:
        what = "not searched here; add it to parameters: or take it out of this row"
        if key in fixed:
            what = f"fixed at {shown(fixed[key])} here; take it out of this row"
        raise ConfigError(what)
    problem = outside(parameter, value)
    if problem is not None:
        raise ConfigError(problem)
    return parameter.canonical(value)


def check_rows(space: Space, problems: Problems) -> None:
    """Note the rows that `when`, `forbid` or the trial configuration refuse, as far as they go."""
    broken = problems.broken
    rules = tuple(rule for rule in space.forbid if not broken & set(rule))
    sure = replace(space, forbid=rules)
    for i, row in enumerate(space.enqueue):
        for parameter in space.parameters:
            if broken & set(parameter.when):
                continue
            known = all(key in row or key not in space.by_key for key in parameter.when)
            if parameter.key in row and known and not space.applies(parameter, row):
                what = "not in force beside the other values of this row; take it out"
                spot = ("enqueue", i, parameter.key)
                problems.add(spot, what, name=f"enqueue: {parameter.key}")
        whole = all(p.key in row for p in space.parameters if space.applies(p, row))
        if (whole and not broken) or sure.rule_against(row) is not None:
            reason = sure.forbidden(row)
            if reason is not None:
                problems.add(("enqueue", i), reason, name="enqueue")
