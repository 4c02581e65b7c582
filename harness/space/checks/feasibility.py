"""Find out if a space allows any combination, and which problems its fixed values cause alone."""

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

# Up to this number of combinations all are tried, 10 to 30 µs each; otherwise a sample of this size
# is drawn.
MAX_ENUMERATED = 2000


def infeasibility_reason(space: SearchSpace) -> str | None:
    """Reason why no combination can be trained, with one example; None if one can be.

    If there are too many combinations to try all, the message says which were tried: the answer
    is then not proven, and a very narrow gap between rules may be missed.
    """
    example, reason, n_tried = "", "", 0
    for values in _sample_combinations(space):
        refusal = space.refusal_reason(values)
        if refusal is None:
            return None
        n_tried += 1
        if not reason:
            example, reason = str(values), refusal
    message = "no combination can be trained"
    if not _is_enumerable(space):
        message = (
            f"none of {n_tried:,} combinations, drawn at random and at the ends of ranges and "
            "rules, can be trained"
        )
    return f"{message}; e.g. {example}: {reason}"


def fixed_conflicts(space: SearchSpace) -> Iterator[tuple[list[str], str]]:
    """Problems of fixed values that no drawn value can avoid: full keys, and the problem."""
    # A problem counts only if it remains under every combination tried: with all searched settings
    # at their defaults, fixed values may conflict with a default that is never used.
    lines = _refusals(space, {})
    for values in _sample_combinations(space) if lines else ():
        remaining = set(_refusals(space, values))
        lines = [line for line in lines if line in remaining]
        if not lines:
            return
    for line in lines:
        # Remove each key without which the problem remains; the others cause it together. (The
        # deletion filter of Chinneck & Dravnieks 1991, Locating minimal infeasible constraint sets
        # in linear programs: the set is minimal, not necessarily the smallest.)
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
    """True if there are few enough combinations to try all of them."""
    sizes = [parameter.size for parameter in space.parameters]
    return bool(space.rows) or (
        None not in sizes and math.prod(size or 1 for size in sizes) <= MAX_ENUMERATED
    )


def _sample_combinations(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """All combinations if they are few, otherwise a random sample and combinations of edges."""
    if _is_enumerable(space):
        yield from space.combinations()
        return
    # Seeded, so that the same space is accepted or refused every time, with the same message.
    rng = random.Random(0)  # noqa: S311  # not used for secrets
    yield from (space.sample(rng) for _ in range(MAX_ENUMERATED))
    # Rules often leave only a narrow gap or the end of a range, which random draws rarely hit.
    edges = _restrict_to_edges(space)
    if _is_enumerable(edges):
        yield from edges.combinations()
    else:
        yield from (edges.sample(rng) for _ in range(MAX_ENUMERATED))


def _restrict_to_edges(space: SearchSpace) -> SearchSpace:
    """The space with each range reduced to its ends and to the bounds that conditions name.

    The nearest values on both sides of a bound are included.
    """
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
    """A number, if the parameter can have it, and the nearest values below and above it."""
    if isinstance(parameter, FloatRange) and parameter.step is None:
        # Bounds of a rule are inclusive: the first allowed number is the next float beyond one.
        return [math.nextafter(bound, -math.inf), float(bound), math.nextafter(bound, math.inf)]
    # One step more on both sides than exact arithmetic needs: the quotient may be off by rounding.
    first = math.floor((bound - parameter.low) / (parameter.step or 1)) - 1
    steps = range(max(first, 0), max(first + 4, 0))
    if isinstance(parameter, IntRange):
        return [parameter.low + i * parameter.step for i in steps]
    return [parameter.value_at(i) for i in steps]
