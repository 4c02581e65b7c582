"""Checks that a space allows a combination, and that its fixed values do not exclude all."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.config.study import TrialConfig
from harness.core.errors import ConfigError
from harness.space.parameters import (
    AnyOf,
    Categorical,
    FloatRange,
    IntRange,
    Match,
    Parameter,
    is_number,
)
from harness.space.space import SearchSpace

MAX_ENUMERATED = 2000  # combinations tried one by one, each some 30 µs; above, that many are drawn


def infeasibility_reason(space: SearchSpace) -> str | None:
    """Reason why no combination may be trained, by one example; None if some may.

    Where there are too many to try them all, the message says what was tried.
    """
    example, reason, n_tried = "", "", 0
    for values in _sample_combinations(space):
        refusal = space.refusal_reason(values)
        if refusal is None:
            return None
        n_tried += 1
        if not reason:
            example, reason = str(values), refusal
    message = "no combination may be trained"
    if not _is_enumerable(space):
        message = (
            f"none of {n_tried:,} combinations may be trained, drawn at random and from the ends "
            "of ranges and rules"
        )
    return f"{message}; e.g. {example}: {reason}"


def fixed_conflicts(space: SearchSpace) -> Iterator[tuple[list[str], str]]:
    """Conflicts of fixed values in every combination: their full keys, and the problem."""
    lines = _refusals(space, {})
    for values in _sample_combinations(space) if lines else ():
        remaining = set(_refusals(space, values))
        lines = [line for line in lines if line in remaining]
        if not lines:
            return
    for line in lines:
        minimal = dict(space.fixed)
        for key in space.fixed:
            fewer = {other_key: value for other_key, value in minimal.items() if other_key != key}
            if line in _refusals(SearchSpace(fixed=fewer), {}):
                minimal = fewer
        for group in TrialConfig.model_fields:
            line = line.removeprefix(f"{group}: ")
        yield list(minimal), line


def _refusals(space: SearchSpace, values: Mapping[str, Any]) -> list[str]:
    """Problems of the trial configuration of a combination."""
    try:
        space.configuration(values)
    except ConfigError as error:
        return [line.removeprefix("this combination: ") for line in error.problems]
    return []


def _is_enumerable(space: SearchSpace) -> bool:
    """True if all combinations can be tried."""
    sizes = [parameter.size for parameter in space.parameters]
    return bool(space.rows) or (
        None not in sizes and math.prod(size or 1 for size in sizes) <= MAX_ENUMERATED
    )


def _sample_combinations(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """All combinations where they are few, else a sample, and those of ends and sides."""
    if _is_enumerable(space):
        yield from space.combinations()
        return
    rng = random.Random(0)  # noqa: S311  # no secret
    yield from (space.sample(rng) for _ in range(MAX_ENUMERATED))
    edges = _restrict_to_edges(space)
    if _is_enumerable(edges):
        yield from edges.combinations()
    else:
        yield from (edges.sample(rng) for _ in range(MAX_ENUMERATED))


def _restrict_to_edges(space: SearchSpace) -> SearchSpace:
    """The space with ranges cut down to their ends and what conditions name, with neighbours."""
    conditions = [*space.forbid, *(parameter.when for parameter in space.parameters)]
    restricted: list[Parameter] = []
    for parameter in space.parameters:
        if isinstance(parameter, Categorical):
            restricted.append(parameter)
            continue
        matches = [
            condition[parameter.key] for condition in conditions if parameter.key in condition
        ]
        restricted.append(
            Categorical(parameter.key, tuple(_edge_values(parameter, matches)), parameter.when)
        )
    return replace(space, parameters=tuple(restricted))


def _edge_values(parameter: IntRange | FloatRange, matches: Sequence[Match]) -> list[Any]:
    bounds = itertools.chain.from_iterable(
        match.values if isinstance(match, AnyOf) else (match.low, match.high) for match in matches
    )
    values = [parameter.low, parameter.high]
    for bound in bounds:
        if is_number(bound):
            values += _neighbour_values(parameter, bound)
    return list(dict.fromkeys(value for value in values if parameter.contains(value)))


def _neighbour_values(parameter: IntRange | FloatRange, bound: float) -> list[Any]:
    """A number and the nearest below and above it that the parameter could have."""
    if isinstance(parameter, FloatRange) and parameter.step is None:
        return [math.nextafter(bound, -math.inf), float(bound), math.nextafter(bound, math.inf)]
    first = math.floor((bound - parameter.low) / (parameter.step or 1)) - 1
    steps = range(max(first, 0), max(first + 4, 0))
    if isinstance(parameter, IntRange):
        return [parameter.low + i * parameter.step for i in steps]
    return [parameter.value_at(i) for i in steps]
