"""One searched setting (`Categorical`, `Whole`, `Real`), and the tests that `when` and `forbid`
are.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

OptunaValue = str | int | float | bool | None


def same_value(left: Any, right: Any) -> bool:
    """Equality of two settings: 1 is 1.0, but true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(
            same_value(a, b) for a, b in zip(left, right, strict=True)
        )
    return bool(left == right)


def is_number(value: Any) -> bool:
    """True for a finite number that is not a boolean."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def format_value(value: Any) -> str:
    """A value as a person would write it, cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


@dataclass(frozen=True)
class AnyOf:
    """Holds for a value equal to one of `values`."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        return any(same_value(value, option) for option in self.values)

    def as_plain(self) -> Any:
        is_single = len(self.values) == 1 and not isinstance(self.values[0], list)
        return self.values[0] if is_single else list(self.values)


@dataclass(frozen=True)
class RangeMatch:
    """Holds for a number from `low` to `high`, both included; None leaves a side open."""

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
Condition = Mapping[str, Match]  # by full key; all of them must hold; empty: always


def condition_as_plain(condition: Condition) -> dict[str, Any]:
    """The condition as it is written in a space."""
    return {key: match.as_plain() for key, match in condition.items()}


@dataclass(frozen=True)
class Categorical:
    """One of several values: None, bool, int, float, str or a list of such."""

    key: str
    choices: tuple[Any, ...]
    when: Condition = field(default_factory=dict)

    def to_optuna(self, value: Any) -> OptunaValue:
        """A choice as Optuna stores it: a list as its JSON text, everything else unchanged."""
        return json.dumps(value) if isinstance(value, list) else value

    def from_optuna(self, optuna_value: OptunaValue) -> Any:
        """The choice that `optuna_value` stands for.

        Raises:
            ValueError: it stands for none.
        """
        for choice in self.choices:
            if same_value(self.to_optuna(choice), optuna_value):
                return choice
        raise ValueError(f"{self.key}: {optuna_value!r} is none of {list(self.choices)}")

    @property
    def optuna_choices(self) -> tuple[OptunaValue, ...]:
        """All choices as Optuna is given them, in the order of the space."""
        return tuple(self.to_optuna(choice) for choice in self.choices)

    def contains(self, value: Any) -> bool:
        return any(same_value(value, choice) for choice in self.choices)

    def canonical(self, value: Any) -> Any:
        """The choice that equals `from_optuna`, e.g. 1 for 1.0."""
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
        return bool(
            abs(steps - round(steps)) < 1e-8
        )  # Optuna's tolerance (FloatDistribution._contains)

    def as_plain(self) -> dict[str, Any]:
        plain = {"low": self.low, "high": self.high, "step": self.step, "log": self.log}
        return plain | _condition_entry(self.when)


@dataclass(frozen=True)
class IntRange(_NumberRange):
    """A whole number from `low` to `high`, both included, in steps; under `log` the step is 1."""

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
    """A number from `low` to `high`, both included; `step` None: any between."""

    low: float
    high: float
    step: float | None = None

    def canonical(self, value: Any) -> float:
        return float(value)

    def values(self) -> Iterator[float]:
        """Every value. Raises ValueError: there is no step."""
        if self.size is None:
            raise ValueError(f"{self.key}: no step")
        yield from map(self.value_at, range(self.size))

    def value_at(self, index: int) -> float:
        """The value `index` steps above `low`.

        Computed in decimals as Optuna's grid is, so that 0.1 + 0.2 is 0.3.

        Raises:
            ValueError: there is no step.
        """
        if self.step is None:
            raise ValueError(f"{self.key}: no step")
        return float(Decimal(str(self.low)) + index * Decimal(str(self.step)))

    @property
    def size(self) -> int | None:
        """The number of values; None: endless."""
        if self.step is None:
            return None
        low, high, step = (Decimal(str(n)) for n in (self.low, self.high, self.step))
        return int((high - low) / step) + 1


Parameter = Categorical | IntRange | FloatRange


def _condition_entry(condition: Condition) -> dict[str, Any]:
    return {"when": condition_as_plain(condition)} if condition else {}
