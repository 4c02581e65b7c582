"""What is wrong with a space although each of its lines is right: parameters that cannot act."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.config import TrialConfig
from harness.space.keys import OPTIONS
from harness.space.parameters import AnyOf, Between, Choice, Condition, Match, Parameter, shown
from harness.space.rules import rule_of, too_long_a_warmup
from harness.space.schema import Legal, Space


def unfit(space: Space, legal: Legal, broken: set[str]) -> Iterator[tuple[str, str]]:
    """Searched or fixed keys that have no effect or break a network, each with what is wrong.

    Args:
        space: The parameters and fixed values; its `forbid` and `enqueue` play no part.
        legal: The constructor options of each architecture.
        broken: Full keys that could not be read, about which nothing can be said.
    """
    for parameter in space.parameters:
        reach = Reach(space, (parameter.when,), broken)
        try:
            problem = reach.contradiction() or _too_long(parameter.key, reach)
            problem = problem or _idle(parameter.key, reach)
            if problem is None:
                problem = _option_problem(parameter.key, reach, legal, searched=True)
                problem = problem or _idle_problem(parameter.key, reach, legal)
        except _UnknownError:
            continue
        if problem is not None:
            yield parameter.key, problem
    for key in space.fixed:
        try:
            problem = _option_problem(key, Reach(space, (), broken), legal, searched=False)
        except _UnknownError:
            continue
        if problem is not None:
            yield key, problem


class _UnknownError(Exception):
    """The values of a key could not be read."""


@dataclass
class Reach:
    """The values that other settings can have while all of some conditions hold."""

    space: Space
    conditions: tuple[Condition, ...]
    broken: set[str]

    def __post_init__(self) -> None:
        """Gather the conditions of the parameters that the conditions name, and of theirs."""
        self.needed: dict[str, list[Match]] = {}
        waiting = list(self.conditions)
        while waiting:
            for key, match in waiting.pop().items():
                known = key in self.needed
                self.needed.setdefault(key, []).append(match)
                if not known and key in self.space.by_key:
                    waiting.append(self.space.by_key[key].when)

    def values(self, key: str) -> list[Any]:
        """Every value of a choice; of a range its ends and what conditions name within them."""
        if key in self.broken:
            raise _UnknownError
        needed = self.needed.get(key, [])
        parameter = self.space.by_key.get(key)
        if parameter is None:
            found = [self.space.constants[key]] if key in self.space.constants else []
        else:
            found = _candidates(parameter, needed)
            if parameter.when and not needed:  # it may be absent, and its default in its place
                default = TrialConfig().flat()
                beside = Reach(self.space, (*self.conditions, parameter.when), self.broken)
                found = found if beside.contradiction() is None else []
                found += [default[key]] if key in default else []
        return [value for value in found if all(match.holds(value) for match in needed)]

    def contradiction(self) -> str | None:
        """Why the condition can never hold; None: it can."""
        for key in self.needed:
            if self.values(key):
                continue
            if key in self.space.by_key:
                return f"never in force: its conditions exclude every value of {key}"
            constant = shown(self.space.constants.get(key))
            return f"never in force: {key} is not searched and always {constant}"
        return None


def _candidates(parameter: Parameter, needed: list[Match]) -> list[Any]:
    if isinstance(parameter, Choice):
        return list(parameter.choices)
    named: list[Any] = []
    for match in needed:
        if isinstance(match, AnyOf):
            named += match.values
        else:
            named += [side for side in (match.low, match.high) if side is not None]
    inside = Between(parameter.low, parameter.high)
    return [parameter.low, parameter.high, *(value for value in named if inside.holds(value))]


def idle_beside(key: str, settings: Mapping[str, Any]) -> str | None:
    """Why a setting has no effect beside all others, given by full key; None: it has one."""
    rule = rule_of(key)
    if rule is None:
        return None
    return rule(lambda other: [settings[other]] if other in settings else [])


def _idle(key: str, reach: Reach) -> str | None:
    """Why a searched setting has no effect; None: it has one."""
    rule = rule_of(key)
    what = None if rule is None else rule(reach.values)
    return None if what is None else f"cannot act: {what}"


def _too_long(key: str, reach: Reach) -> str | None:
    """Of a searched length: why no training has it; where both are searched, said of one."""
    both = ("optim.warmup_epochs", "train.epochs")
    searched = next((one for one in both if one in reach.space.by_key), None)
    return too_long_a_warmup(reach.values) if key == searched else None


def _option_problem(key: str, reach: Reach, legal: Legal, *, searched: bool) -> str | None:
    if not key.startswith(OPTIONS) or not legal.options:
        return None
    name = key.removeprefix(OPTIONS)
    archs = [arch for arch in reach.values("model.arch") if arch in legal.options]
    without = [arch for arch in archs if name not in legal.options[arch]]
    if not without:
        return None
    having = [arch for arch in archs if arch not in without]
    if not having:
        return (
            f"cannot act: {' and '.join(without)} has no such option; {_options_of(without, legal)}"
        )
    when = f"when: {{model.arch: [{', '.join(having)}]}}"
    fix = f"add `{when}`" if searched else f"search it instead, as {{value: …, {when}}}"
    return f"{_none_of(without)}; {fix}"


def _idle_problem(key: str, reach: Reach, legal: Legal) -> str | None:
    """A searched setting that some architectures do not look at; fixed ones do no harm there."""
    if not any(key in keys for keys in legal.idle.values()):
        return None
    archs = reach.values("model.arch")
    without = [arch for arch in archs if key in legal.idle.get(arch, ())]
    having = [arch for arch in archs if arch not in without]
    if not without:
        return None
    if not having:
        return f"cannot act: {' and '.join(without)} does not take it"
    when = f"when: {{model.arch: [{', '.join(having)}]}}"
    return f"cannot act under {' and '.join(without)}; add `{when}`"


def _none_of(archs: list[str]) -> str:
    return f"{' and '.join(archs)} {'has' if len(archs) == 1 else 'have'} no such option"


def _options_of(archs: list[str], legal: Legal) -> str:
    names = sorted(legal.options[archs[0]])
    return f"{archs[0]} takes {', '.join(names) if names else 'none'}"
