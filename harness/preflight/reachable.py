"""Every combination of the parameters that shape the network which a space can draw."""

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from harness.config import TrialConfig
from harness.errors import ConfigError
from harness.preflight.networks import (
    Network,
    Pretrained,
    Setting,
    network_of,
    pretrained_of,
    shapes,
    shaping,
)
from harness.space.parameters import AnyOf, Choice, Condition, Match, Parameter, Whole
from harness.space.schema import Space

LIMIT = 2_000  # networks built before trial 0, each some 0.1 s; of more, so many are drawn
MOST_VALUES = 16  # of a range: beyond, its ends and what conditions name in it
MOST_COMBINATIONS = 50_000  # counted off one by one, each some 50 µs
MOST_SEARCHED = 500  # draws in search of one with a certain encoder
ENCODER, WEIGHTS = "model.encoder_name", "model.encoder_weights"


@dataclass(frozen=True)
class Drawn:
    """One combination: the values that decide, and the network they make.

    Attributes:
        alone: some batch of a training holds a single image.
    """

    values: Mapping[str, Any]
    config: TrialConfig
    network: Network
    alone: bool


@dataclass(frozen=True)
class Reachable:
    """What a space can draw.

    Attributes:
        whole: these are all; else a sample.
        weighted: all pretrained weights that some draw begins with, in the sample or not.
    """

    drawn: tuple[Drawn, ...]
    whole: bool
    weighted: frozenset[Pretrained] = frozenset()


def reachable(space: Space, setting: Setting, *, limit: int | None, seed: int = 0) -> Reachable:
    """The combinations that `when` and `forbid` allow, each once.

    Args:
        limit: the most networks; of more a sample is drawn. None: all.
        seed: of the sample.
    """
    if space.rows:
        return _cut(_drawn(space, space.rows, setting), limit, seed)
    small = only_shaping(space)
    count = math.prod(parameter.size or 1 for parameter in small.parameters)
    if count <= MOST_COMBINATIONS or limit is None:
        return _cut(_drawn(small, small.combinations(), setting), limit, seed)
    rng = random.Random(seed)  # noqa: S311  # no secret
    draws = (small.draw(rng) for _ in range(MOST_COMBINATIONS))
    found = _cut(_drawn(small, draws, setting), limit, seed)
    weighted = found.weighted | _unseen(small, found.weighted, setting, rng)
    return replace(found, whole=False, weighted=weighted)


def only_shaping(space: Space) -> Space:
    """The space with nothing but what decides about networks, its ranges by a few values."""
    keys = {key for key in space.by_key if shapes(key)}
    waiting = list(keys)
    while waiting:
        found = set(space.by_key[waiting.pop()].when) & set(space.by_key) - keys
        keys |= found
        waiting += found
    # A rule that names other keys too forbids a part of a combination only.
    rules = tuple(rule for rule in space.forbid if not set(rule) & set(space.by_key) - keys)
    kept = [parameter for parameter in space.parameters if parameter.key in keys]
    conditions = [*rules, *(parameter.when for parameter in kept)]
    return Space(tuple(_few(parameter, conditions) for parameter in kept), dict(space.fixed), rules)


def with_row(space: Space, row: Mapping[str, Any]) -> Space:
    """The space with what a row names held at its values."""
    held = tuple(
        Choice(one.key, (row[one.key],), one.when) if one.key in row else one
        for one in space.parameters
    )
    return Space(held, dict(space.fixed), space.forbid)


def shaping_config(space: Space, values: Mapping[str, Any]) -> TrialConfig:
    """The trial configuration as far as it decides. Raises ConfigError when there is none."""
    return TrialConfig.from_flat(shaping({**space.fixed, **values}), place="this combination")


def _drawn(space: Space, tries: Iterable[Mapping[str, Any]], setting: Setting) -> list[Drawn]:
    found: dict[tuple[Any, ...], Drawn] = {}
    for values in tries:
        if space.rule_against(values) is not None:
            continue
        try:
            config = shaping_config(space, values)
        except ConfigError:
            continue
        network, alone = network_of(config), setting.alone(config)
        key = (network, alone, config.model.encoder_weights)
        found.setdefault(key, Drawn(values, config, network, alone))
    return list(found.values())


def _cut(drawn: list[Drawn], limit: int | None, seed: int) -> Reachable:
    networks = list(dict.fromkeys(one.network for one in drawn))
    weighted = frozenset(one for d in drawn if (one := pretrained_of(d.config)) is not None)
    if limit is None or len(networks) <= limit:
        return Reachable(tuple(drawn), whole=True, weighted=weighted)
    rng = random.Random(seed)  # noqa: S311  # no secret
    kept = set(rng.sample(networks, limit))
    sample = tuple(one for one in drawn if one.network in kept)
    return Reachable(sample, whole=False, weighted=weighted)


def _unseen(
    space: Space, seen: Set[Pretrained], setting: Setting, rng: random.Random
) -> set[Pretrained]:
    """The pretrained weights that draws can begin with, though none among many did."""
    encoders, weights = space.by_key.get(ENCODER), space.by_key.get(WEIGHTS)
    default = [space.constants.get(WEIGHTS)]
    found: set[Pretrained] = set()
    for name, kind in itertools.product(
        encoders.choices if isinstance(encoders, Choice) else (),
        weights.choices if isinstance(weights, Choice) else default,
    ):
        if kind is None or (wanted := Pretrained(str(name), str(kind))) in seen:
            continue
        held = with_row(space, {ENCODER: name, WEIGHTS: kind})
        draws = (held.draw(rng) for _ in range(MOST_SEARCHED))
        drawn = (one for draw in draws for one in _drawn(held, [draw], setting))
        if any(pretrained_of(one.config) == wanted for one in drawn):
            found.add(wanted)
    return found


def _few(parameter: Parameter, conditions: list[Condition]) -> Parameter:
    """The parameter itself, or a choice of the values of a range that can make a difference."""
    named = [rule[parameter.key] for rule in conditions if parameter.key in rule]
    if isinstance(parameter, Choice):
        return parameter
    if parameter.key == "train.batch_size" and isinstance(parameter, Whole) and not named:
        # One image, or more: nothing else about a batch decides.
        return Choice(parameter.key, tuple(itertools.islice(parameter.values(), 2)), parameter.when)
    if parameter.size is not None and parameter.size <= MOST_VALUES:
        return parameter
    values = {parameter.low, parameter.high, *_sides(named)}
    kept = sorted(value for value in values if parameter.contains(value))
    return Choice(
        parameter.key, tuple(parameter.canonical(value) for value in kept), parameter.when
    )


def _sides(matches: list[Match]) -> list[Any]:
    sides: list[Any] = []
    for match in matches:
        sides += match.values if isinstance(match, AnyOf) else [match.low, match.high]
    return [side for side in sides if side is not None]
