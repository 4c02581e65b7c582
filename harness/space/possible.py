"""Whether a space allows any combination at all; what its fixed values alone make impossible."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.config import TrialConfig
from harness.errors import ConfigError
from harness.space.parameters import AnyOf, Choice, Match, Parameter, Real, Whole, is_number
from harness.space.schema import Space

ENUMERATE = 2000  # combinations tried one by one, each some 30 µs; above, that many are drawn


def nothing_allowed(space: Space) -> str | None:
    """Why no combination may be trained, by one example; None: there are some.

    Where there are too many to try them all, the message says what was tried.
    """
    example, reason, n_tried = "", "", 0
    for values in _tries(space):
        refusal = space.forbidden(values)
        if refusal is None:
            return None
        n_tried += 1
        if not reason:
            example, reason = str(values), refusal
    what = "no combination may be trained"
    if not _few(space):
        what = (
            f"none of {n_tried:,} combinations may be trained, drawn at random and from the ends "
            "of ranges and rules"
        )
    return f"{what}; e.g. {example}: {reason}"


def fixed_conflicts(space: Space) -> Iterator[tuple[list[str], str]]:
    """What fixed values make impossible whatever is drawn: their full keys, and what is wrong."""
    lines = _refusals(space, {})
    for values in _tries(space) if lines else ():
        remaining = set(_refusals(space, values))
        lines = [line for line in lines if line in remaining]
        if not lines:
            return
    for line in lines:
        needed = dict(space.fixed)
        for key in space.fixed:
            rest = {other: value for other, value in needed.items() if other != key}
            if line in _refusals(Space(fixed=rest), {}):
                needed = rest
        for group in TrialConfig.model_fields:
            line = line.removeprefix(f"{group}: ")
        yield list(needed), line


def _refusals(space: Space, values: Mapping[str, Any]) -> list[str]:
    """What the trial configuration says against a combination."""
    try:
        space.configuration(values)
    except ConfigError as error:
        return [line.removeprefix("this combination: ") for line in error.problems]
    return []


def _few(space: Space) -> bool:
    """Whether all combinations can be tried."""
    sizes = [parameter.size for parameter in space.parameters]
    return bool(space.rows) or (
        None not in sizes and math.prod(size or 1 for size in sizes) <= ENUMERATE
    )


def _tries(space: Space) -> Iterator[dict[str, Any]]:
    """All combinations where they are few, else a sample, and those of ends and sides."""
    if _few(space):
        yield from space.combinations()
        return
    rng = random.Random(0)  # noqa: S311  # no secret
    yield from (space.draw(rng) for _ in range(ENUMERATE))
    edges = _at_edges(space)
    if _few(edges):
        yield from edges.combinations()
    else:
        yield from (edges.draw(rng) for _ in range(ENUMERATE))


def _at_edges(space: Space) -> Space:
    """The space with ranges cut down to their ends and what conditions name, with neighbours."""
    conditions = [*space.forbid, *(parameter.when for parameter in space.parameters)]
    cut: list[Parameter] = []
    for parameter in space.parameters:
        if isinstance(parameter, Choice):
            cut.append(parameter)
            continue
        matches = [
            condition[parameter.key] for condition in conditions if parameter.key in condition
        ]
        cut.append(Choice(parameter.key, tuple(_edges(parameter, matches)), parameter.when))
    return replace(space, parameters=tuple(cut))


def _edges(parameter: Whole | Real, matches: Sequence[Match]) -> list[Any]:
    named = itertools.chain.from_iterable(
        match.values if isinstance(match, AnyOf) else (match.low, match.high) for match in matches
    )
    found = [parameter.low, parameter.high]
    for side in named:
        if is_number(side):
            found += _around(parameter, side)
    return list(dict.fromkeys(value for value in found if parameter.contains(value)))


def _around(parameter: Whole | Real, side: float) -> list[Any]:
    """A number and the nearest below and above it that the parameter could have."""
    if isinstance(parameter, Real) and parameter.step is None:
        return [math.nextafter(side, -math.inf), float(side), math.nextafter(side, math.inf)]
    first = math.floor((side - parameter.low) / (parameter.step or 1)) - 1
    steps = range(max(first, 0), max(first + 4, 0))
    if isinstance(parameter, Whole):
        return [parameter.low + i * parameter.step for i in steps]
    return [parameter.at(i) for i in steps]
