"""Whether trials of an earlier study could have been trials of a new one, and as which values."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config import StudyConfig, TrialConfig
from harness.data.splits import SplitRow
from harness.errors import ConfigError
from harness.models.options import FOLLOWING_DEPTH
from harness.models.registry import archs, network_class, option_names
from harness.records import TrialRecord
from harness.search.definition import Definition
from harness.search.repeats import SEED
from harness.space.keys import OPTIONS
from harness.space.parameters import Choice, Parameter, condition_as_plain, same, shown

ROLES = ("train", "val")  # whose images decide a trial's value


@dataclass(frozen=True)
class Fit:
    """What an earlier trial is in a new study.

    Attributes:
        values: the searched parameters in force there, by full key.
        reasons: why it does not fit; empty: it does. Equal reasons have equal texts.
    """

    values: dict[str, Any]
    reasons: tuple[str, ...]


def study_reasons(
    old: StudyConfig, new: StudyConfig, old_split: Sequence[SplitRow], split: Sequence[SplitRow]
) -> list[str]:
    """Why the values of two studies cannot be compared; empty: they can.

    The objective, the meaning of the data but for its place, and the very images and masks of
    train and val must be the same. Images of test have no part in a trial's value.
    """
    reasons = _unequal("objective", old.objective.model_dump(), new.objective.model_dump())
    theirs = old.data.model_dump(mode="json", exclude={"root"})
    reasons += _unequal("data", theirs, new.data.model_dump(mode="json", exclude={"root"}))
    if old.parts is not None and old.parts != new.parts:
        reasons.append(f"parts: {old.parts.file} there has other contents, or is not used here")
    for role in ROLES:
        before, after = _pictures(old_split, role), _pictures(split, role)
        if before != after:
            reasons.append(
                f"split: the {role} images differ: {len(before - after)} of its {len(before)} are "
                f"not among the {len(after)} here"
            )
    return reasons


def fit(definition: Definition, record: TrialRecord, config: TrialConfig) -> Fit:
    """Compare an earlier trial with the space and the fixed values of a new study.

    Args:
        record: the earlier trial.
        config: its whole configuration. All of it but `train.seed` must be possible here; an option
            that is not set has its network's default.
    """
    theirs = default_options(config) | config.flat()
    values, reasons = _values(definition, theirs)
    if reasons:  # conditions hang on values that are missing: say what is plain, and no more
        return Fit(values, (*reasons, *_constants(definition, record, theirs)))
    rule = definition.space.rule_against(values)
    if rule is not None:
        return Fit(values, (f"forbidden here by {condition_as_plain(rule)}",))
    try:
        whole = definition.trial_config(values)
    except ConfigError as error:
        return Fit(values, tuple(error.problems))
    there, here = _beside(config, whole), _beside(whole, config)
    return Fit(values, tuple(_differences(there, here, record)))


def default_options(config: TrialConfig) -> dict[str, Any]:
    """The options of a network that has that name, by full key, where none are set.

    Those without a plain default are left out, and all of a network that nobody has registered.
    """
    arch, depth = config.model.arch, config.model.encoder_depth
    if arch not in archs():
        return {}
    arguments = inspect.signature(network_class(arch)).parameters
    found: dict[str, Any] = {}
    for name in option_names(arch):
        default = arguments[name].default
        if name == "decoder_channels" and arch in FOLLOWING_DEPTH:
            default = default[-depth:]  # as the network is built
        if default is None or isinstance(default, bool | int | float | str | list | tuple):
            found[OPTIONS + name] = list(default) if isinstance(default, tuple) else default
    return found


def _beside(config: TrialConfig, other: TrialConfig) -> dict[str, Any]:
    """Its settings, with the defaults of those options that the other one sets."""
    flat, others = config.flat(), other.flat()
    defaults = default_options(config).items()
    return {key: value for key, value in defaults if key in others} | flat


def _values(
    definition: Definition, theirs: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    space = definition.space
    values: dict[str, Any] = {}
    reasons: list[str] = []
    for parameter in space.parameters:
        key = parameter.key
        if not space.applies(parameter, values):
            continue
        if key not in theirs:
            reasons.append(f"{key} is searched here, and was not set there")
        elif not parameter.contains(theirs[key]):
            reasons.append(f"{key} is outside what is searched here ({_extent(parameter)})")
        else:
            values[key] = parameter.canonical(theirs[key])
    return values, tuple(reasons)


def _constants(definition: Definition, record: TrialRecord, theirs: Mapping[str, Any]) -> list[str]:
    """Differences in what is searched in no trial of the new study."""
    constants = definition.space.constants  # options at their defaults are not among them
    settled = {key: value for key, value in theirs.items() if key in constants}
    return _differences(settled, {key: constants[key] for key in settled}, record)


def _differences(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], record: TrialRecord
) -> list[str]:
    """One text per key; the earlier value is told only where the whole earlier study had it."""
    reasons = []
    for key in dict.fromkeys([*theirs, *ours]):
        if key == SEED or (key in theirs and key in ours and same(theirs[key], ours[key])):
            continue
        here = f"is {shown(ours[key])} here" if key in ours else "is not set here"
        there = f"was {shown(theirs[key])}" if key in theirs else "was not set"
        if key in record.params:
            there = "was searched"
        reasons.append(f"{key} {there} there and {here}")
    return reasons


def _extent(parameter: Parameter) -> str:
    if isinstance(parameter, Choice):
        return ", ".join(shown(choice) for choice in parameter.choices)
    step = f" in steps of {parameter.step}" if parameter.step not in (None, 1) else ""
    return f"{parameter.low} to {parameter.high}{step}"


def _unequal(group: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        f"{group}.{key}: {shown(old[key])} there, {shown(new[key])} here"
        for key in new
        if old.get(key) != new[key]
    ]


def _pictures(split: Sequence[SplitRow], role: str) -> set[tuple[str, str]]:
    return {(row.image_sha256, row.mask_sha256) for row in split if row.role == role}
