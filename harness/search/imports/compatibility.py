"""Comparison of an earlier study and its trials with the space and data of a new study.

The reasons of this module are keys of `left_out` in study.yaml.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config.study import StudyConfig, TrialConfig
from harness.core.errors import ConfigError
from harness.core.records import TrialRecord
from harness.data.splits.splits import SplitRow
from harness.models.options import DEPTH_DEPENDENT
from harness.search.definition.definition import StudyDefinition
from harness.search.imports.duplicates import SEED_KEY
from harness.space.keys import OPTIONS_PREFIX
from harness.space.parameters import (
    Categorical,
    Parameter,
    condition_as_plain,
    format_value,
    same_value,
)

COMPARED_ROLES = ("train", "val")  # images of these roles determine a trial's value


@dataclass(frozen=True)
class Compatibility:
    """Result of comparing an earlier trial with a new study.

    Attributes:
        values: its values of the new study's active parameters, by full key.
        reasons: reasons against importing it; empty if it fits. Equal reasons have equal texts.
    """

    values: dict[str, Any]
    reasons: tuple[str, ...]


def incomparable_reasons(
    old: StudyConfig, new: StudyConfig, old_split: Sequence[SplitRow], split: Sequence[SplitRow]
) -> list[str]:
    """Reasons why the objective values of two studies cannot be compared; empty if they can.

    The objective, the data settings except the root folder, and the images and masks of train and
    val (by content) must be the same. Test images do not influence a trial's value.
    """
    reasons = _group_differences(
        "objective", old.objective.model_dump(), new.objective.model_dump()
    )
    old_data = old.data.model_dump(mode="json", exclude={"root"})
    reasons += _group_differences(
        "data", old_data, new.data.model_dump(mode="json", exclude={"root"})
    )
    if old.parts is not None and old.parts != new.parts:
        reasons.append(f"parts: {old.parts.file} there has other contents, or is not used here")
    return reasons + _split_differences(old_split, split)


def _split_differences(old_split: Sequence[SplitRow], split: Sequence[SplitRow]) -> list[str]:
    reasons = []
    # Sets of hashes and not lists: the order of the rows and the file names may differ.
    for role in COMPARED_ROLES:
        old_hashes, new_hashes = _image_hashes(old_split, role), _image_hashes(split, role)
        if old_hashes != new_hashes:
            reasons.append(
                f"split: the {role} images differ: {len(old_hashes - new_hashes)} of its "
                f"{len(old_hashes)} are not among the {len(new_hashes)} here"
            )
    return reasons


def check_compatibility(
    definition: StudyDefinition, record: TrialRecord, config: TrialConfig
) -> Compatibility:
    """Compare an earlier trial with the space and the fixed values of a new study.

    Args:
        definition: definition of the new study.
        record: record of the earlier trial.
        config: complete configuration of the earlier trial. Every setting except `train.seed` must
            be possible in the new study; an option that is not set has its network's default.
    """
    old_values = default_options(config) | config.flat()
    values, reasons = _searched_values(definition, old_values)
    if reasons:
        # Conditions may depend on the missing values, so only constants are compared further.
        return Compatibility(
            values, (*reasons, *_constant_differences(definition, record, old_values))
        )
    # Checked in order: `forbid` rules before the configuration, whose own errors are less specific.
    rule = definition.space.matching_rule(values)
    if rule is not None:
        return Compatibility(values, (f"forbidden here by {condition_as_plain(rule)}",))
    try:
        new_config = definition.trial_config(values)
    except ConfigError as error:
        return Compatibility(values, tuple(error.problems))
    old_settings, new_settings = (
        _flat_with_defaults(config, new_config),
        _flat_with_defaults(new_config, config),
    )
    return Compatibility(values, tuple(_setting_differences(old_settings, new_settings, record)))


def default_options(config: TrialConfig) -> dict[str, Any]:
    """Default options of the trial's network, by full key, as the network's class declares them.

    Options without a plain default value are omitted. The result is empty for a network that is
    not registered.
    """
    from harness.models.registry import (  # noqa: PLC0415  # imports torch
        archs,
        network_class,
        option_names,
    )

    arch, depth = config.model.arch, config.model.encoder_depth
    if arch not in archs():
        return {}
    arguments = inspect.signature(network_class(arch)).parameters
    defaults: dict[str, Any] = {}
    for name in option_names(arch):
        default = arguments[name].default
        if name == "decoder_channels" and arch in DEPTH_DEPENDENT:
            default = default[-depth:]  # the network is built with this part of the default
        if default is None or isinstance(default, bool | int | float | str | list | tuple):
            defaults[OPTIONS_PREFIX + name] = (
                list(default) if isinstance(default, tuple) else default
            )
    return defaults


def _flat_with_defaults(config: TrialConfig, compared: TrialConfig) -> dict[str, Any]:
    """Settings of a trial, with defaults for the options that only the other trial sets."""
    flat, compared_flat = config.flat(), compared.flat()
    defaults = default_options(config).items()
    return {key: value for key, value in defaults if key in compared_flat} | flat


def _searched_values(
    definition: StudyDefinition, old_values: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    space = definition.space
    values: dict[str, Any] = {}
    reasons: list[str] = []
    for parameter in space.parameters:
        key = parameter.key
        if not space.is_active(parameter, values):
            continue
        if key not in old_values:
            reasons.append(f"{key} is searched here, and was not set there")
        elif not parameter.contains(old_values[key]):
            reasons.append(f"{key} is outside what is searched here ({_range_text(parameter)})")
        else:
            values[key] = parameter.canonical(old_values[key])
    return values, tuple(reasons)


def _constant_differences(
    definition: StudyDefinition, record: TrialRecord, old_values: Mapping[str, Any]
) -> list[str]:
    """Differences in settings that are constant in the new study."""
    constants = definition.space.constants  # does not include options at their defaults
    old_constants = {key: value for key, value in old_values.items() if key in constants}
    return _setting_differences(
        old_constants, {key: constants[key] for key in old_constants}, record
    )


def _setting_differences(
    old_values: Mapping[str, Any], new_values: Mapping[str, Any], record: TrialRecord
) -> list[str]:
    """One text per differing key.

    The earlier value is named only if it was constant in its study: texts of equal reasons must be
    equal, and a searched value differs from trial to trial.
    """
    reasons = []
    for key in dict.fromkeys([*old_values, *new_values]):
        if key == SEED_KEY or (
            key in old_values and key in new_values and same_value(old_values[key], new_values[key])
        ):
            continue
        new_text = (
            f"is {format_value(new_values[key])} here" if key in new_values else "is not set here"
        )
        old_text = f"was {format_value(old_values[key])}" if key in old_values else "was not set"
        if key in record.params:
            old_text = "was searched"
        reasons.append(f"{key} {old_text} there and {new_text}")
    return reasons


def _range_text(parameter: Parameter) -> str:
    if isinstance(parameter, Categorical):
        return ", ".join(format_value(choice) for choice in parameter.choices)
    step = f" in steps of {parameter.step}" if parameter.step not in (None, 1) else ""
    return f"{parameter.low} to {parameter.high}{step}"


def _group_differences(group: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        f"{group}.{key}: {format_value(old[key])} there, {format_value(new[key])} here"
        for key in new
        if old.get(key) != new[key]
    ]


def _image_hashes(split: Sequence[SplitRow], role: str) -> set[tuple[str, str]]:
    return {(row.image_sha256, row.mask_sha256) for row in split if row.role == role}
