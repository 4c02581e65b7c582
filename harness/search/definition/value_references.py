"""`fixed: {model.encoder_name: {from: encoders}}`: a value from another study's best trial.

It is looked up once, before the study begins. From then on study.yaml holds the plain value under
`fixed`, and under `taken` where it came from.
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
    """Fixed values with those of other studies filled in.

    Attributes:
        fixed: what was written, with plain values; without what could not be taken.
        references: where values came from, by full key.
        problems: what could not be taken and why, each with its place.
    """

    fixed: dict[str, Any] = field(default_factory=dict)
    references: dict[str, ValueSourceConfig] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def is_reference(value: Any) -> bool:
    """Whether a fixed value is written as `{from: <study>}`, rightly or wrongly."""
    return isinstance(value, Mapping) and FROM_KEY in value


def resolve_references(
    fixed: Mapping[str, Any], paths: StudyPaths, locate: Callable[[str], str], legal: AllowedValues
) -> ResolvedValues:
    """Look up every value that is to come from another study.

    Args:
        fixed: full or short keys; values as written.
        paths: the folder of the study that takes; others are looked for beside it.
        locate: what problems call the place of a key of `fixed`, e.g. `study.yaml:4`.
        legal: legal values.
    """
    resolved = ResolvedValues()
    for written_key, value in fixed.items():
        if not is_reference(value):
            resolved.fixed[written_key] = value
            continue
        try:
            key = full_key(written_key, legal)
            reference = _load_reference(key, value, paths)
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
    """`--set` of a study that has begun: what was taken then, and not looked up again.

    Raises:
        ConfigError: a value that the study did not take from there.
    """
    plain: dict[str, Any] = {}
    problems = []
    for written_key, value in fixed.items():
        if not is_reference(value):
            plain[written_key] = value
            continue
        matching_keys = [
            key for key in config.taken if written_key in (key, key.rpartition(".")[2])
        ]
        if matching_keys and config.taken[matching_keys[0]].study == value[FROM_KEY]:
            plain[matching_keys[0]] = config.taken[matching_keys[0]].value
        else:
            problems.append(
                f"--set: {written_key}: study {paths.name} has begun, and did not take it from "
                f"{value[FROM_KEY]}; start a new one: give it another name with --study"
            )
    if problems:
        raise ConfigError(problems)
    return plain


def _load_reference(key: str, value: Mapping[str, Any], paths: StudyPaths) -> ValueSourceConfig:
    name = value[FROM_KEY]
    if set(value) != {FROM_KEY} or not isinstance(name, str):
        raise ConfigError("must be {from: <name of a study>} and nothing else")
    earlier, config = open_earlier_study(name, paths)
    best = best_trial(earlier, config)
    path = earlier.trial(best.number).config_yaml
    try:
        nested = strict_yaml.load_yaml(path.read_text(encoding="utf-8"), source=str(path)).value
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    # Its losses may be of a file that the study which takes does not use.
    flat = TrialConfig.from_flat(flatten(nested), source=str(path), allow_unregistered=True).flat()
    if key not in flat:
        sibling_keys = [
            candidate
            for candidate in flat
            if candidate.rpartition(".")[0] == key.rpartition(".")[0]
        ]
        raise ConfigError(
            f"trial {best.number} of {name}, its best, has no such "
            f"setting{suggest_nearest(key, sibling_keys)}"
        )
    return ValueSourceConfig(study=name, id=str(config.id), trial=best.number, value=flat[key])
