"""Find parameters without effect: each of their lines is legal, but the space as a whole is not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.study import TrialConfig
from harness.space.keys import OPTIONS_PREFIX
from harness.space.parameters import (
    AnyOf,
    Categorical,
    Condition,
    Match,
    Parameter,
    RangeMatch,
    format_value,
)
from harness.space.rules import inactivity_rule, warmup_problem
from harness.space.space import AllowedValues, SearchSpace


def inactive_parameters(
    space: SearchSpace, legal: AllowedValues, unreadable: set[str]
) -> Iterator[tuple[str, str]]:
    """Searched or fixed keys that have no effect or break a network, each with its problem.

    Fixed settings without effect do no harm and are allowed; only options that an architecture
    does not have are refused under `fixed`.

    Args:
        space: The parameters and fixed values; `forbid` and `enqueue` are ignored.
        legal: The constructor options of each architecture.
        unreadable: Full keys that could not be read; a check that needs one of them is skipped.
    """
    for parameter in space.parameters:
        reach = ReachableValues(space, (parameter.when,), unreadable)
        try:
            problem = reach.contradiction_reason() or _warmup_problem(parameter.key, reach)
            problem = problem or _inactivity_problem(parameter.key, reach)
            if problem is None:
                problem = _option_problem(parameter.key, reach, legal, searched=True)
                problem = problem or _arch_inactivity_problem(parameter.key, reach, legal)
        except _UnreadableKeyError:
            continue
        if problem is not None:
            yield parameter.key, problem
    for key in space.fixed:
        try:
            problem = _option_problem(
                key, ReachableValues(space, (), unreadable), legal, searched=False
            )
        except _UnreadableKeyError:
            continue
        if problem is not None:
            yield key, problem


class _UnreadableKeyError(Exception):
    """Signal that the values of a key could not be read, so that a check cannot be made."""


@dataclass
class ReachableValues:
    """Values that other settings can have while all given conditions hold.

    An upper bound: settings are considered one by one, so that a combination of two values may be
    impossible although each is listed. A rule based on it never refuses a setting that has an
    effect, but may accept one without.
    """

    space: SearchSpace
    conditions: tuple[Condition, ...]
    unreadable: set[str]

    def __post_init__(self) -> None:
        """Collect the matches of all conditions and, transitively, of the parameters they name."""
        self.required_matches: dict[str, list[Match]] = {}
        queue = list(self.conditions)
        while queue:
            for key, match in queue.pop().items():
                seen = key in self.required_matches
                self.required_matches.setdefault(key, []).append(match)
                if not seen and key in self.space.by_key:
                    queue.append(self.space.by_key[key].when)

    def values(self, key: str) -> list[Any]:
        """Every choice of a categorical; of a range the ends and the values named by conditions."""
        if key in self.unreadable:
            raise _UnreadableKeyError
        matches = self.required_matches.get(key, [])
        parameter = self.space.by_key.get(key)
        if parameter is None:
            candidates = [self.space.constants[key]] if key in self.space.constants else []
        else:
            candidates = _candidates(parameter, matches)
            # A conditional parameter may be inactive: its default counts then. If the conditions
            # name the parameter itself, it is active in all cases considered here.
            if parameter.when and not matches:
                default = TrialConfig().flat()
                combined = ReachableValues(
                    self.space, (*self.conditions, parameter.when), self.unreadable
                )
                candidates = candidates if combined.contradiction_reason() is None else []
                candidates += [default[key]] if key in default else []
        return [value for value in candidates if all(match.holds(value) for match in matches)]

    def contradiction_reason(self) -> str | None:
        """Reason why the conditions can never hold together; None if they can."""
        for key in self.required_matches:
            if self.values(key):
                continue
            if key in self.space.by_key:
                return f"never active: its conditions exclude every value of {key}"
            constant = format_value(self.space.constants.get(key))
            return f"never active: {key} is not searched and always {constant}"
        return None


def _candidates(parameter: Parameter, matches: list[Match]) -> list[Any]:
    if isinstance(parameter, Categorical):
        return list(parameter.choices)
    bounds: list[Any] = []
    for match in matches:
        if isinstance(match, AnyOf):
            bounds += match.values
        else:
            bounds += [bound for bound in (match.low, match.high) if bound is not None]
    in_range = RangeMatch(parameter.low, parameter.high)
    return [parameter.low, parameter.high, *(value for value in bounds if in_range.holds(value))]


def inactive_given(key: str, settings: Mapping[str, Any]) -> str | None:
    """Reason why a setting has no effect with these values of all settings; None if it has one."""
    rule = inactivity_rule(key)
    if rule is None:
        return None
    return rule(lambda other_key: [settings[other_key]] if other_key in settings else [])


def _inactivity_problem(key: str, reach: ReachableValues) -> str | None:
    """Reason why a searched setting has no effect; None if it has one."""
    rule = inactivity_rule(key)
    reason = None if rule is None else rule(reach.values)
    return None if reason is None else f"has no effect: {reason}"


def _warmup_problem(key: str, reach: ReachableValues) -> str | None:
    """Reason why no training has a searched warm-up or length; None if one has it.

    If both are searched, the problem is reported for one of them only.
    """
    length_keys = ("optim.warmup_epochs", "train.epochs")
    searched = next(
        (candidate for candidate in length_keys if candidate in reach.space.by_key), None
    )
    return warmup_problem(reach.values) if key == searched else None


def _option_problem(
    key: str, reach: ReachableValues, legal: AllowedValues, *, searched: bool
) -> str | None:
    """Problem of a constructor option that some of the possible architectures do not have."""
    if not key.startswith(OPTIONS_PREFIX) or not legal.options:
        return None
    name = key.removeprefix(OPTIONS_PREFIX)
    archs = [arch for arch in reach.values("model.arch") if arch in legal.options]
    archs_without = [arch for arch in archs if name not in legal.options[arch]]
    if not archs_without:
        return None
    archs_with = [arch for arch in archs if arch not in archs_without]
    if not archs_with:
        return (
            f"has no effect: {_unknown_option(archs_without)}; "
            f"{_option_names(archs_without, legal)}"
        )
    when = f"when: {{model.arch: [{', '.join(archs_with)}]}}"
    fix = f"add `{when}`" if searched else f"search it instead, as {{value: …, {when}}}"
    return f"{_unknown_option(archs_without)}; {fix}"


def _arch_inactivity_problem(key: str, reach: ReachableValues, legal: AllowedValues) -> str | None:
    """Problem of a searched setting that some of the possible architectures ignore."""
    if not any(key in keys for keys in legal.inactive_keys.values()):
        return None
    archs = reach.values("model.arch")
    archs_without = [arch for arch in archs if key in legal.inactive_keys.get(arch, ())]
    archs_with = [arch for arch in archs if arch not in archs_without]
    if not archs_without:
        return None
    if not archs_with:
        verb = "does" if len(archs_without) == 1 else "do"
        return f"has no effect: {' and '.join(archs_without)} {verb} not use it"
    # Without a condition, trials under these architectures would differ in name only.
    when = f"when: {{model.arch: [{', '.join(archs_with)}]}}"
    return f"has no effect under {' and '.join(archs_without)}; add `{when}`"


def _unknown_option(archs: list[str]) -> str:
    return f"unknown option of {' and '.join(archs)}"


def _option_names(archs: list[str], legal: AllowedValues) -> str:
    names = sorted(legal.options[archs[0]])
    if not names:
        return f"{archs[0]} has no options"
    # The options of one architecture: several have too many for a line.
    return f"choose from {', '.join(names)}{f' for {archs[0]}' if archs[1:] else ''}"
