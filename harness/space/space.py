"""A search space as a plain value: parameters, fixed values, forbidden combinations, first rows.

`harness.space.reading.load_space` builds it and checks it; the sampler draws from it.
"""

import itertools
import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.config.study import TrialConfig
from harness.core.errors import ConfigError
from harness.space.parameters import (
    AnyOf,
    Categorical,
    Condition,
    FloatRange,
    IntRange,
    Match,
    OptunaValue,
    Parameter,
    RangeMatch,
    condition_as_plain,
)

__all__ = [
    "AllowedValues",
    "AnyOf",
    "Categorical",
    "Condition",
    "FloatRange",
    "IntRange",
    "Match",
    "Parameter",
    "RangeMatch",
    "SearchSpace",
]

# Far more trainings than a study runs; counting a much larger grid, combination by combination,
# would take minutes.
MAX_GRID_SIZE = 100_000


@dataclass(frozen=True)
class AllowedValues:
    """Legal values of keys that the configuration leaves open, supplied by the caller.

    The names of networks and encoders need torch and its libraries, which are not imported here.

    Attributes:
        values: Legal values by full key, e.g. `model.arch`; an absent key is checked by type only.
        checks: By full key, for values that cannot be listed: returns the problem of a value, or
            None.
        options: Names of the constructor options of each architecture; if empty, any name is
            accepted.
        inactive_keys: Keys without effect under an architecture, by architecture.
    """

    values: Mapping[str, Collection[Any]] = field(default_factory=dict)
    checks: Mapping[str, Callable[[Any], str | None]] = field(default_factory=dict, kw_only=True)
    options: Mapping[str, Collection[str]] = field(default_factory=dict)
    inactive_keys: Mapping[str, Collection[str]] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class SearchSpace:
    """Searched parameters and fixed settings of a study's trials, with rules and first rows.

    Attributes:
        parameters: The searched settings; each comes after those that its `when` names.
        fixed: Settings of every trial, by full key; never the key of a parameter.
        forbid: Combinations that are not drawn.
        enqueue: Rows to try first, by full key; the sampler completes keys that a row leaves out.
        rows: Combinations to train in this order, each exactly once, and no others. The parameters
            are then the choices that occur in the rows. A row may lack a key that does not apply
            in it.
        labels: Tags of each row, without influence on training; () if there are no tags.
        row_locations: Source location of each row, e.g. `grid.csv:5`; ignored by comparisons.
    """

    parameters: tuple[Parameter, ...] = ()
    fixed: dict[str, Any] = field(default_factory=dict)
    forbid: tuple[Condition, ...] = ()
    enqueue: tuple[dict[str, Any], ...] = ()
    rows: tuple[dict[str, Any], ...] = ()
    labels: tuple[dict[str, str], ...] = ()
    row_locations: tuple[str, ...] = field(default=(), compare=False)

    # cached_property works on a frozen dataclass because it writes to __dict__ directly, past the
    # __setattr__ that refuses. `dataclasses.replace` makes an object without cached values.
    @cached_property
    def by_key(self) -> dict[str, Parameter]:
        """The parameters by their full keys."""
        return {parameter.key: parameter for parameter in self.parameters}

    @cached_property
    def constants(self) -> dict[str, Any]:
        """Every setting that is not searched: its fixed value, otherwise its default."""
        defaults = TrialConfig().flat() | self.fixed
        return {key: value for key, value in defaults.items() if key not in self.by_key}

    def is_active(self, parameter: Parameter, values: Mapping[str, Any]) -> bool:
        """True if a parameter is active together with `values` (of searched keys, by full key).

        A condition on a parameter that is itself inactive does not hold.
        """
        return self._holds(parameter.when, values)

    def refusal_reason(self, values: Mapping[str, Any]) -> str | None:
        """Reason why a complete combination must not be trained; None if it may be.

        Args:
            values: The values of exactly the active parameters, by full key.

        Returns:
            The matching rule of `forbid`, or the problems of the trial configuration.
        """
        rule = self.matching_rule(values)
        if rule is not None:
            return f"forbidden by {condition_as_plain(rule)}"
        try:
            self.configuration(values)
        except ConfigError as error:
            return "; ".join(error.problems)
        return None

    def matching_rule(self, values: Mapping[str, Any]) -> Condition | None:
        """The first rule of `forbid` that matches; `values` may be only a part of a combination.

        A rule does not match while one of its searched keys is missing.
        """
        return next((rule for rule in self.forbid if self._holds(rule, values)), None)

    def configuration(self, values: Mapping[str, Any]) -> TrialConfig:
        """The trial configuration of a combination. Raises ConfigError if it is not a legal one."""
        return TrialConfig.from_flat({**self.fixed, **values}, source="this combination")

    def to_optuna(self, values: Mapping[str, Any]) -> dict[str, OptunaValue]:
        """Values in the form that Optuna stores: JSON text for a list among choices."""
        by_key = self.by_key
        return {key: _to_optuna_value(by_key[key], value) for key, value in values.items()}

    def from_optuna(self, stored: Mapping[str, OptunaValue]) -> dict[str, Any]:
        """The values of Optuna's parameters. Raises ValueError for one that is not a choice."""
        by_key = self.by_key
        return {key: _from_optuna_value(by_key[key], value) for key, value in stored.items()}

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every allowed combination once; the last parameter varies fastest.

        Raises:
            ConfigError: a parameter has no step; the message names all of these. Raised by the
                call itself, not by the first iteration.
        """
        if self.rows:
            return iter(self.rows)
        continuous = [parameter.key for parameter in self.parameters if parameter.size is None]
        if continuous:
            raise ConfigError(f"{', '.join(continuous)}: a grid needs `step` or `choices` here")
        # Not a generator function: its errors would come only when the first value is requested.
        return (values for values in self.combinations() if self.refusal_reason(values) is None)

    @cached_property
    def grid_size(self) -> int:
        """Number of combinations that `grid` yields.

        Raises:
            ConfigError: as `grid`, or if there may be more than 100,000.
        """
        grid = self.grid()
        if self.rows:
            return len(self.rows)
        # The product is an upper bound: conditions and `forbid` only reduce the number.
        if math.prod(parameter.size or 1 for parameter in self.parameters) > MAX_GRID_SIZE:
            raise ConfigError(
                f"the grid has more than {MAX_GRID_SIZE:,} combinations; "
                "use fewer choices, larger steps or another sampler"
            )
        return sum(1 for _ in grid)

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Every combination as `grid` yields it, but also the forbidden and the illegal ones.

        Raises:
            ValueError: a parameter has no step; raised by the iteration.
        """
        yield from self.rows or self._combinations({}, 0)

    def sample(self, rng: random.Random) -> dict[str, Any]:
        """One random combination (uniform, or uniform in the logarithm), allowed or not."""
        if self.rows:
            return dict(rng.choice(self.rows))
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if self.is_active(parameter, values):
                values[parameter.key] = _sample_value(parameter, rng)
        return values

    def as_dict(self) -> dict[str, Any]:
        """The space as recorded in `space.yaml`: full keys, every field written out.

        `space_from_dict` reads it back to an equal space.
        """
        if self.rows:
            rows = {"rows": [dict(row) for row in self.rows]}
            labels = {"labels": [dict(label) for label in self.labels]} if self.labels else {}
            return {"format": 1, "fixed": dict(self.fixed)} | rows | labels
        return {
            "format": 1,
            "parameters": {parameter.key: parameter.as_plain() for parameter in self.parameters},
            "fixed": dict(self.fixed),
            "forbid": [condition_as_plain(rule) for rule in self.forbid],
            "enqueue": [dict(row) for row in self.enqueue],
        }

    def _combinations(self, values: dict[str, Any], start: int) -> Iterator[dict[str, Any]]:
        # A parameter's `when` names only earlier parameters, so that `values` decides here
        # whether it is active.
        for i, parameter in itertools.islice(enumerate(self.parameters), start, None):
            if self.is_active(parameter, values):
                for value in parameter.values():
                    yield from self._combinations({**values, parameter.key: value}, i + 1)
                return
        yield values

    def _holds(self, condition: Condition, values: Mapping[str, Any]) -> bool:
        for key, match in condition.items():
            settings = values if key in self.by_key else self.constants
            # An absent searched key is inactive, or not drawn yet: its default counts in training,
            # but not here.
            if key not in settings or not match.holds(settings[key]):
                return False
        return True


def _to_optuna_value(parameter: Parameter, value: Any) -> OptunaValue:
    if isinstance(parameter, Categorical):
        return parameter.to_optuna(value)
    return parameter.canonical(value)


def _from_optuna_value(parameter: Parameter, stored: OptunaValue) -> Any:
    return parameter.from_optuna(stored) if isinstance(parameter, Categorical) else stored


def _sample_value(parameter: Parameter, rng: random.Random) -> Any:
    if isinstance(parameter, Categorical):
        return rng.choice(parameter.choices)
    if parameter.log:
        value = math.exp(rng.uniform(math.log(parameter.low), math.log(parameter.high)))
        # exp(log(x)) may miss x by a rounding error: exp(log(1e-5)) is below 1e-5.
        value = min(max(value, parameter.low), parameter.high)
        return round(value) if isinstance(parameter, IntRange) else value
    if isinstance(parameter, IntRange):
        return rng.randrange(parameter.low, parameter.high + 1, parameter.step)
    if parameter.step is None:
        return rng.uniform(parameter.low, parameter.high)
    assert parameter.size is not None
    return parameter.value_at(rng.randrange(parameter.size))
