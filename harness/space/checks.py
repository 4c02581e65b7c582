"""What is wrong with a space although each of its lines is right: parameters that cannot act."""

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.config import LOSS_PARTS, TrialConfig
from harness.loss_config import loss_names, loss_setting, pixel_losses
from harness.space.keys import OPTIONS
from harness.space.parameters import AnyOf, Between, Choice, Condition, Match, Parameter, shown
from harness.space.schema import Legal, Space

ENUMERATE = 2000  # combinations tried one by one, each some 30 µs; above, that many are drawn


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
            problem = reach.contradiction() or _idle(parameter.key, reach)
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


def nothing_allowed(space: Space) -> str | None:
    """Why no combination may be trained, by one example; None: there are some."""
    sizes = [parameter.size for parameter in space.parameters]
    finite = None not in sizes and math.prod(size or 1 for size in sizes) <= ENUMERATE
    rng = random.Random(0)  # noqa: S311  # no secret
    tries = space.combinations() if finite else (space.draw(rng) for _ in range(ENUMERATE))
    example, reason = "", ""
    for values in tries:
        refusal = space.forbidden(values)
        if refusal is None:
            return None
        if not reason:
            example, reason = str(values), refusal
    return f"no combination may be trained; e.g. {example}: {reason}"


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
    rule = _RULES.get(key)
    return None if rule is None else rule(lambda other: [settings[other]])


def _idle(key: str, reach: Reach) -> str | None:
    """Why a searched setting has no effect; None: it has one."""
    rule = _RULES.get(key) or _rule_of_other(key)
    what = None if rule is None else rule(reach.values)
    return None if what is None else f"cannot act: {what}"


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


Values = Callable[[str], list[Any]]


def _needs_sgd(values: Values) -> str | None:
    return None if "sgd" in values("optim.name") else "optim.name is never sgd"


def _needs_weight(part: str) -> Callable[[Values], str | None]:
    def rule(values: Values) -> str | None:
        return None if max(values(f"loss.{part}")) > 0 else f"loss.{part} is never above 0"

    return rule


def _of_pixels(
    what: str, setting: Literal["label_smoothing", "class_weights"]
) -> Callable[[Values], str | None]:
    def rule(values: Values) -> str | None:
        *keys, last = (f"loss.{part}" for part in pixel_losses(setting))
        if any(max(values(key)) > 0 for key in (*keys, last)):
            return None
        return f"{what} {', '.join(keys)} and {last}, which are never above 0"

    return rule


def _needs_company(part: str) -> Callable[[Values], str | None]:
    """Weights are divided by their sum, so that a part alone always weighs 1."""

    def rule(values: Values) -> str | None:
        others = [other for other in loss_names() if other != part]
        if any(max(values(f"loss.{other}")) > 0 for other in others):
            return None
        return f"{', '.join(f'loss.{other}' for other in others)} are always 0, so it weighs 1"

    return rule


def _overridden(values: Values) -> str | None:
    if None in values("optim.encoder_lr") or None in values("optim.decoder_lr"):
        return None
    return "optim.encoder_lr and optim.decoder_lr are always set and override it"


def _scale(values: Values) -> str | None:
    if None in values("optim.encoder_lr"):
        return None
    return "optim.encoder_lr is always set and overrides it"


def _frozen(values: Values) -> str | None:
    freeze, epochs = min(values("train.freeze_encoder_epochs")), max(values("train.epochs"))
    if freeze < epochs:
        return None
    return f"the encoder is frozen in all epochs (train.freeze_encoder_epochs {freeze} or more)"


def _patience(values: Values) -> str | None:
    epochs = max(values("train.epochs"))
    waits = [value for value in values("train.patience") if value is not None]
    if not waits or min(waits) < epochs:
        return None
    return f"train.epochs is never above {epochs}, so no trial waits that long"


def _same_training(_: Values) -> str | None:
    return "it changes nothing that is trained; put it under fixed:"


def _rule_of_other(key: str) -> Callable[[Values], str | None] | None:
    """The rule of a loss that others have registered, or of its option."""
    setting = loss_setting(key.removeprefix("loss.")) if key.startswith("loss.") else None
    if setting is None:
        return None
    part, option = setting
    return _needs_company(part.name) if option is None else _needs_weight(part.name)


_RULES: Mapping[str, Callable[[Values], str | None]] = {
    "optim.momentum": _needs_sgd,
    "optim.lr": _overridden,
    "optim.encoder_lr": _frozen,
    "optim.encoder_lr_scale": _scale,
    "loss.focal_gamma": _needs_weight("focal"),
    "loss.label_smoothing": _of_pixels("it moves the targets of", "label_smoothing"),
    "loss.class_weights": _of_pixels("they weigh the classes in", "class_weights"),
    "loss.tversky_alpha": _needs_weight("tversky"),
    "train.patience": _patience,
    "train.checkpoint_s": _same_training,
    **{f"loss.{part}": _needs_company(part) for part in LOSS_PARTS},
}
