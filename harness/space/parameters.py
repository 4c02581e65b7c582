"""Types of searched settings (`Categorical`, `IntRange`, `FloatRange`) and of the conditions that
`when` and `forbid` state about them.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

OptunaValue = str | int | float | bool | None


def same_value(left: Any, right: Any) -> bool:
    """Equality of two settings: 1 equals 1.0, but true does not equal 1."""
    # bool is a subclass of int, so Python has True == 1; true and 1 are different settings in YAML.
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(
            same_value(a, b) for a, b in zip(left, right, strict=True)
        )
    return bool(left == right)


def is_number(value: Any) -> bool:
    """True if a setting is a finite number; booleans do not count as numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # math.isfinite raises OverflowError for integers above about 1.8e308.
    return isinstance(value, int) or math.isfinite(value)


def format_value(value: Any) -> str:
    """A value as it is written in YAML, cut after 80 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


@dataclass(frozen=True)
class AnyOf:
    """Match of every value that equals one of `values`."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        return any(same_value(value, option) for option in self.values)

    def as_plain(self) -> Any:
        # A list that is a value itself stays in a list: alone it would read as alternatives.
        is_single = len(self.values) == 1 and not isinstance(self.values[0], list)
        return self.values[0] if is_single else list(self.values)


@dataclass(frozen=True)
class RangeMatch:
    """Match of every number from `low` to `high`, both included; None leaves a side open."""

    low: float | None
    high: float | None

    def holds(self, value: Any) -> bool:
        if not is_number(value):
            return False
        above = self.low is None or value >= self.low
        return above and (self.high is None or value <= self.high)

    def as_plain(self) -> Any:
        bounds = {"low": self.low, "high": self.high}
        return {name: bound for name, bound in bounds.items() if bound is not None}


Match = AnyOf | RangeMatch
Condition = Mapping[str, Match]  # by full key; holds if all its matches do; an empty one always


def condition_as_plain(condition: Condition) -> dict[str, Any]:
    """The condition as it is written in a space file."""
    return {key: match.as_plain() for key, match in condition.items()}


@dataclass(frozen=True)
class Categorical:
    """Parameter with a list of choices: None, bool, int, float, str or a list of these."""

    key: str
    choices: tuple[Any, ...]
    when: Condition = field(default_factory=dict)

    def to_optuna(self, value: Any) -> OptunaValue:
        """The form of a choice that Optuna stores: JSON text for a list, otherwise the value."""
        # Optuna's storages hold None, bool, int, float and str; for a list it only warns
        # (CategoricalDistribution.__init__), and the list does not survive a database.
        return json.dumps(value) if isinstance(value, list) else value

    def from_optuna(self, optuna_value: OptunaValue) -> Any:
        """The choice that Optuna stored as `optuna_value`.

        Raises:
            ValueError: no choice has this form.
        """
        for choice in self.choices:
            if same_value(self.to_optuna(choice), optuna_value):
                return choice
        raise ValueError(f"{self.key}: {optuna_value!r} is not one of {list(self.choices)}")

    @property
    def optuna_choices(self) -> tuple[OptunaValue, ...]:
        """All choices in the form that Optuna stores, in the order of the space."""
        return tuple(self.to_optuna(choice) for choice in self.choices)

    def contains(self, value: Any) -> bool:
        return any(same_value(value, choice) for choice in self.choices)

    def canonical(self, value: Any) -> Any:
        """The choice that equals `value`, in the type of the choice, e.g. 1 for 1.0."""
        return next(choice for choice in self.choices if same_value(value, choice))

    def values(self) -> Iterator[Any]:
        yield from self.choices

    @property
    def size(self) -> int:
        return len(self.choices)

    def as_plain(self) -> dict[str, Any]:
        return {"choices": list(self.choices)} | _condition_entry(self.when)


@dataclass(frozen=True)
class _NumberRange:
    key: str
    low: Any
    high: Any
    step: Any
    log: bool = False
    when: Condition = field(default_factory=dict)

    def contains(self, value: Any) -> bool:
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        steps = float(value - self.low) / self.step
        # The tolerance of Optuna's FloatDistribution._contains: with another one, a value could
        # pass here and be refused there, in the middle of a study.
        return bool(abs(steps - round(steps)) < 1e-8)

    def as_plain(self) -> dict[str, Any]:
        plain = {"low": self.low, "high": self.high, "step": self.step, "log": self.log}
        return plain | _condition_entry(self.when)


@dataclass(frozen=True)
class IntRange(_NumberRange):
    """Parameter with whole numbers from `low` to `high`, both included, `step` apart.

    With `log` the step is 1: Optuna's IntDistribution refuses every other.
    """

    low: int
    high: int
    step: int = 1

    def contains(self, value: Any) -> bool:
        return isinstance(value, int) and super().contains(value)

    def canonical(self, value: Any) -> int:
        return int(value)

    def values(self) -> Iterator[int]:
        yield from range(self.low, self.high + 1, self.step)

    @property
    def size(self) -> int:
        return (self.high - self.low) // self.step + 1


@dataclass(frozen=True)
class FloatRange(_NumberRange):
    """Parameter with numbers from `low` to `high`, both included; all of them if `step` is None."""

    low: float
    high: float
    step: float | None = None

    def canonical(self, value: Any) -> float:
        return float(value)

    def values(self) -> Iterator[float]:
        """Every value, from `low` upwards. Raises ValueError if there is no step."""
        if self.size is None:
            raise ValueError(f"{self.key}: no step")
        yield from map(self.value_at, range(self.size))

    def value_at(self, index: int) -> float:
        """The value `index` steps above `low`.

        Raises:
            ValueError: there is no step.
        """
        if self.step is None:
            raise ValueError(f"{self.key}: no step")
        # In decimals, as Optuna's BruteForceSampler counts: in binary 0.1 + 0.2 is
        # 0.30000000000000004, which would be another value of the grid than 0.3.
        return float(Decimal(str(self.low)) + index * Decimal(str(self.step)))

    @property
    def size(self) -> int | None:
        """Number of values; None for a range without step."""
        if self.step is None:
            return None
        low, high, step = (Decimal(str(n)) for n in (self.low, self.high, self.step))
        return int((high - low) / step) + 1


Parameter = Categorical | IntRange | FloatRange


def _condition_entry(condition: Condition) -> dict[str, Any]:
    return {"when": condition_as_plain(condition)} if condition else {}
