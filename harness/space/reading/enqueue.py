"""Checks of `enqueue` rows; separate from `SpaceReader` because they need a space, not a document.

The rows are complete or partial configurations that a study tries first.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.core.errors import ConfigError
from harness.space.conditions import outside_problem
from harness.space.parameters import Parameter, format_value
from harness.space.reading.problems import ProblemCollector
from harness.space.space import SearchSpace


def enqueue_value(
    key: str, value: Any, parameters: Mapping[str, Parameter], fixed: Mapping[str, Any]
) -> Any:
    """The value of one cell in the type of its parameter, e.g. 1.0 for 1 in a range of floats.

    Raises:
        ConfigError: the key is not searched, or the value is out of range; without location.
    """
    parameter = parameters.get(key)
    if parameter is None:
        message = "not searched here; add it to parameters: or remove it from this row"
        if key in fixed:
            message = f"fixed at {format_value(fixed[key])} here; remove it from this row"
        raise ConfigError(message)
    problem = outside_problem(parameter, value)
    if problem is not None:
        raise ConfigError(problem)
    return parameter.canonical(value)


def check_enqueue_rows(space: SearchSpace, problems: ProblemCollector) -> None:
    """Note the rows that `when`, `forbid` or the trial configuration refuse.

    A partial row is checked only where the values it has decide the answer.
    """
    unreadable = problems.unreadable_keys
    rules = tuple(rule for rule in space.forbid if not unreadable & set(rule))
    readable_space = replace(space, forbid=rules)
    for i, row in enumerate(space.enqueue):
        for parameter in space.parameters:
            if unreadable & set(parameter.when):
                continue
            # If a parameter of its `when` is missing from the row, the sampler may draw a value
            # under which this one is active.
            is_decided = all(key in row or key not in space.by_key for key in parameter.when)
            if parameter.key in row and is_decided and not space.is_active(parameter, row):
                message = "inactive with the other values of this row; remove it"
                path = ("enqueue", i, parameter.key)
                problems.add(path, message, name=f"enqueue: {parameter.key}")
        is_complete = all(p.key in row for p in space.parameters if space.is_active(p, row))
        if (is_complete and not unreadable) or readable_space.matching_rule(row) is not None:
            reason = readable_space.refusal_reason(row)
            if reason is not None:
                problems.add(("enqueue", i), reason, name="enqueue")
