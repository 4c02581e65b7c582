"""Fixed values that refer to the best trial of another study.

Example: `fixed: {model.encoder_name: {from: encoders}}`. A reference is resolved once, before the
study starts. After that study.yaml holds the plain value under `fixed`, and its source (study and
trial) under `taken`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.config.imports import ValueSourceConfig
from harness.config.study import StudyConfig, TrialConfig
from harness.config.study_files import best_trial, open_earlier_study
from harness.core import strict_yaml
from harness.core.errors import ConfigError, UserError, suggest_nearest
from harness.core.paths import StudyPaths
from harness.core.settings import flatten
from harness.space.keys import full_key, setting_problem
from harness.space.space import AllowedValues

FROM_KEY = "from"


@dataclass
class ResolvedValues:
    """Fixed values after the references to other studies were resolved.

    Attributes:
        fixed: plain values by key as written; unresolved references are absent.
        references: sources of the resolved values, by full key.
        problems: one line for each unresolved reference, with its location and the reason.
    """

    fixed: dict[str, Any] = field(default_factory=dict)
    references: dict[str, ValueSourceConfig] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def is_reference(value: Any) -> bool:
    """True if a fixed value has the form `{from: <study>}`, even with mistakes in it."""
    return isinstance(value, Mapping) and FROM_KEY in value


def resolve_references(
    fixed: Mapping[str, Any], paths: StudyPaths, locate: Callable[[str], str], legal: AllowedValues
) -> ResolvedValues:
    """Resolve every reference to another study.

    Args:
        fixed: values as written, by full or short key.
        paths: folder of the study with the references; other studies are its sibling folders.
        locate: returns the location of a key of `fixed` for error messages, e.g. `study.yaml:4`.
        legal: allowed values of each key.
    """
    resolved = ResolvedValues()
    for written_key, value in fixed.items():
        if not is_reference(value):
            resolved.fixed[written_key] = value
            continue
        try:
            key = full_key(written_key, legal)
            reference = _load_reference(key, value, paths)
            # The earlier study may have used a network or option that is not installed here.
            problem = setting_problem(key, reference.value, legal)
            if problem is not None:
                raise ConfigError(f"trial {reference.trial} of {reference.study}: {problem}")
        except UserError as error:
            resolved.problems += [
                f"{locate(written_key)}: {written_key}: {line}" for line in str(error).splitlines()
            ]
            continue
        resolved.fixed[written_key] = reference.value
        resolved.references[key] = reference
    return resolved


def recorded_references(
    fixed: Mapping[str, Any], paths: StudyPaths, config: StudyConfig
) -> dict[str, Any]:
    """Replace references in `--set` of a started study by the values recorded at its start.

    They are not resolved again: the other study may have a better trial by now.

    Raises:
        ConfigError: the study did not start with this reference.
    """
    plain: dict[str, Any] = {}
    problems = []
    for written_key, value in fixed.items():
        if not is_reference(value):
            plain[written_key] = value
            continue
        # `--set encoder_name=from:x` gives a short key; study.yaml records full keys only.
        matching_keys = [
            key for key in config.taken if written_key in (key, key.rpartition(".")[2])
        ]
        if matching_keys and config.taken[matching_keys[0]].study == value[FROM_KEY]:
            plain[matching_keys[0]] = config.taken[matching_keys[0]].value
        else:
            problems.append(
                f"--set: {written_key}: study {paths.name} has started without this value from "
                f"{value[FROM_KEY]}; start a new study under another name with --study"
            )
    if problems:
        raise ConfigError(problems)
    return plain


def _load_reference(key: str, value: Mapping[str, Any], paths: StudyPaths) -> ValueSourceConfig:
    name = value[FROM_KEY]
    if set(value) != {FROM_KEY} or not isinstance(name, str):
        raise ConfigError("must be {from: <name of a study>} without further keys")
    earlier, config = open_earlier_study(name, paths)
    best = best_trial(earlier, config)
    path = earlier.trial(best.number).config_yaml
    try:
        nested = strict_yaml.load_yaml(path.read_text(encoding="utf-8"), source=str(path)).value
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    # The earlier trial may use losses of a parts file that is not registered for this study.
    flat = TrialConfig.from_flat(flatten(nested), source=str(path), allow_unregistered=True).flat()
    if key not in flat:
        section = key.rpartition(".")[0]
        sibling_keys = [sibling for sibling in flat if sibling.rpartition(".")[0] == section]
        raise ConfigError(
            f"trial {best.number}, the best of study {name}, has no setting "
            f"{key}{suggest_nearest(key, sibling_keys)}"
        )
    return ValueSourceConfig(study=name, id=str(config.id), trial=best.number, value=flat[key])
