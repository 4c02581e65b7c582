"""Enumerate or sample the configurations of a space that lead to different networks."""

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from harness.config.study import TrialConfig
from harness.core.errors import ConfigError
from harness.preflight.network_key import (
    NetworkKey,
    PreflightSetting,
    PretrainedEncoder,
    affects_network,
    network_key_of,
    pretrained_encoder_of,
    select_network_values,
)
from harness.space.parameters import AnyOf, Categorical, Condition, IntRange, Match, Parameter
from harness.space.space import SearchSpace

# Networks that are built before trial 0, about 0.1 s each; of a larger number a sample is drawn.
MAX_NETWORKS = 2_000
# Values of a range; a longer one is reduced to its ends and the values that conditions name.
MAX_RANGE_VALUES = 16
MAX_COMBINATIONS = 50_000  # combinations that are enumerated, about 50 µs each
MAX_ENCODER_DRAWS = 500  # draws to find a configuration with a given encoder
ENCODER_KEY, WEIGHTS_KEY = "model.encoder_name", "model.encoder_weights"


@dataclass(frozen=True)
class SampledConfig:
    """One configuration: the values that shape the network, and the network itself.

    Attributes:
        has_single_image_batch: True if some training batch holds a single image.
    """

    values: Mapping[str, Any]
    config: TrialConfig
    network: NetworkKey
    has_single_image_batch: bool


@dataclass(frozen=True)
class ReachableConfigs:
    """Configurations that a space can draw.

    Attributes:
        is_complete: True if these are all; False for a sample.
        pretrained_encoders: all pretrained weights that the space can use, in the sample or not.
    """

    configs: tuple[SampledConfig, ...]
    is_complete: bool
    pretrained_encoders: frozenset[PretrainedEncoder] = frozenset()


def enumerate_configs(
    space: SearchSpace, setting: PreflightSetting, *, limit: int | None, seed: int = 0
) -> ReachableConfigs:
    """Enumerate the configurations that `when` and `forbid` allow, each once.

    Args:
        limit: largest number of networks; of a larger one a sample is drawn. None: no limit.
        seed: seed of the sample.
    """
    if space.rows:
        return _limit_configs(_valid_configs(space, space.rows, setting), limit, seed)
    network_space = reduce_to_network_space(space)
    count = math.prod(parameter.size or 1 for parameter in network_space.parameters)
    if count <= MAX_COMBINATIONS or limit is None:
        configs = _valid_configs(network_space, network_space.combinations(), setting)
        return _limit_configs(configs, limit, seed)
    rng = random.Random(seed)  # noqa: S311  # no secret
    draws = (network_space.sample(rng) for _ in range(MAX_COMBINATIONS))
    sample = _limit_configs(_valid_configs(network_space, draws, setting), limit, seed)
    pretrained_encoders = sample.pretrained_encoders | _search_unsampled_encoders(
        network_space, sample.pretrained_encoders, setting, rng
    )
    return replace(sample, is_complete=False, pretrained_encoders=pretrained_encoders)


def reduce_to_network_space(space: SearchSpace) -> SearchSpace:
    """Reduce a space to the parameters that shape networks, with few values for each range."""
    keys = {key for key in space.by_key if affects_network(key)}
    pending = list(keys)
    while pending:
        parents = set(space.by_key[pending.pop()].when) & set(space.by_key) - keys
        # Parents of conditions decide whether a parameter is active, though they shape no network
        # themselves.
        keys |= parents
        pending += parents
    # A rule with other keys forbids only some draws of a combination, so it must not count here.
    rules = tuple(rule for rule in space.forbid if not set(rule) & set(space.by_key) - keys)
    parameters = [parameter for parameter in space.parameters if parameter.key in keys]
    conditions = [*rules, *(parameter.when for parameter in parameters)]
    return SearchSpace(
        tuple(_reduce_values(parameter, conditions) for parameter in parameters),
        dict(space.fixed),
        rules,
    )


def fix_row_values(space: SearchSpace, row: Mapping[str, Any]) -> SearchSpace:
    """Fix the parameters of a space that a row gives a value."""
    parameters = tuple(
        Categorical(parameter.key, (row[parameter.key],), parameter.when)
        if parameter.key in row
        else parameter
        for parameter in space.parameters
    )
    return SearchSpace(parameters, dict(space.fixed), space.forbid)


def network_config(space: SearchSpace, values: Mapping[str, Any]) -> TrialConfig:
    """Trial configuration from the values that shape the network. Raises ConfigError if invalid."""
    return TrialConfig.from_flat(
        select_network_values({**space.fixed, **values}), source="this combination"
    )


def _valid_configs(
    space: SearchSpace, candidates: Iterable[Mapping[str, Any]], setting: PreflightSetting
) -> list[SampledConfig]:
    configs: dict[tuple[Any, ...], SampledConfig] = {}
    for values in candidates:
        if space.matching_rule(values) is not None:
            continue
        try:
            config = network_config(space, values)
        except ConfigError:
            continue
        network, has_single_image_batch = (
            network_key_of(config),
            setting.has_single_image_batch(config),
        )
        key = (network, has_single_image_batch, config.model.encoder_weights)
        # Weights are part of the key: they do not change shapes, but may be unavailable.
        configs.setdefault(key, SampledConfig(values, config, network, has_single_image_batch))
    return list(configs.values())


def _limit_configs(configs: list[SampledConfig], limit: int | None, seed: int) -> ReachableConfigs:
    # A dict keeps the order; a set of strings would be sampled differently in every process.
    networks = list(dict.fromkeys(sampled.network for sampled in configs))
    pretrained_encoders = frozenset(
        encoder
        for sampled in configs
        if (encoder := pretrained_encoder_of(sampled.config)) is not None
    )
    if limit is None or len(networks) <= limit:
        return ReachableConfigs(
            tuple(configs), is_complete=True, pretrained_encoders=pretrained_encoders
        )
    rng = random.Random(seed)  # noqa: S311  # no secret
    # Networks are drawn, not configurations: otherwise one with many variants would crowd out
    # others.
    sampled_networks = set(rng.sample(networks, limit))
    sample = tuple(sampled for sampled in configs if sampled.network in sampled_networks)
    return ReachableConfigs(sample, is_complete=False, pretrained_encoders=pretrained_encoders)


def _search_unsampled_encoders(
    space: SearchSpace,
    sampled_encoders: Set[PretrainedEncoder],
    setting: PreflightSetting,
    rng: random.Random,
) -> set[PretrainedEncoder]:
    """Search for pretrained weights that the space can use but the sample does not contain."""
    encoders, weights = space.by_key.get(ENCODER_KEY), space.by_key.get(WEIGHTS_KEY)
    default = [space.constants.get(WEIGHTS_KEY)]
    unsampled: set[PretrainedEncoder] = set()
    names = encoders.choices if isinstance(encoders, Categorical) else ()
    weight_names = weights.choices if isinstance(weights, Categorical) else default
    for name, weights_name in itertools.product(names, weight_names):
        encoder = PretrainedEncoder(str(name), str(weights_name))
        if weights_name is None or encoder in sampled_encoders:
            continue
        fixed_space = fix_row_values(space, {ENCODER_KEY: name, WEIGHTS_KEY: weights_name})
        configs = _draw_configs(fixed_space, setting, rng)
        if any(pretrained_encoder_of(sampled.config) == encoder for sampled in configs):
            unsampled.add(encoder)
    return unsampled


def _draw_configs(
    space: SearchSpace, setting: PreflightSetting, rng: random.Random
) -> Iterator[SampledConfig]:
    """Yield valid configurations of at most MAX_ENCODER_DRAWS draws, each drawn when needed."""
    for _ in range(MAX_ENCODER_DRAWS):
        yield from _valid_configs(space, [space.sample(rng)], setting)


def _reduce_values(parameter: Parameter, conditions: list[Condition]) -> Parameter:
    """The parameter itself, or a choice of the values of its range that can matter."""
    matches = [rule[parameter.key] for rule in conditions if parameter.key in rule]
    if isinstance(parameter, Categorical):
        return parameter
    if parameter.key == "train.batch_size" and isinstance(parameter, IntRange) and not matches:
        # Two values suffice: BatchNorm may refuse one image, and all larger batches are alike.
        return Categorical(
            parameter.key, tuple(itertools.islice(parameter.values(), 2)), parameter.when
        )
    if parameter.size is not None and parameter.size <= MAX_RANGE_VALUES:
        return parameter
    values = {parameter.low, parameter.high, *_boundary_values(matches)}
    representatives = sorted(value for value in values if parameter.contains(value))
    return Categorical(
        parameter.key,
        tuple(parameter.canonical(value) for value in representatives),
        parameter.when,
    )


def _boundary_values(matches: list[Match]) -> list[Any]:
    boundaries: list[Any] = []
    for match in matches:
        boundaries += match.values if isinstance(match, AnyOf) else [match.low, match.high]
    return [boundary for boundary in boundaries if boundary is not None]
