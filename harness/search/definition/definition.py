"""Definition of a study: resolved and written before trial 0, unchanged afterwards."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.config.study import StudyConfig, TrialConfig
from harness.core import files, strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.settings import flatten, nest
from harness.search.definition.fixed_values import FixedValues
from harness.search.definition.value_references import recorded_references
from harness.space.reading.load_space import (
    CSV_SUFFIX,
    first_comment,
    read_space,
    space_from_dict,
    with_fixed,
)
from harness.space.reading.row_space import check_row_space
from harness.space.space import AllowedValues, SearchSpace


@dataclass(frozen=True)
class StudyDefinition:
    """Resolved definition of a study.

    Attributes:
        config: configuration as in study.yaml.
        recorded_space: search space as in space.yaml.
        is_started: True if the study's folder contains this definition already.
    """

    config: StudyConfig
    recorded_space: SearchSpace
    is_started: bool

    @cached_property
    def space(self) -> SearchSpace:
        """Search space with the fixed values of the study, `--set` included."""
        return replace(self.recorded_space, fixed=dict(self.config.fixed))

    def trial_config(self, values: Mapping[str, Any]) -> TrialConfig:
        """Complete configuration of a trial: defaults, overridden by fixed, then sampled values."""
        return TrialConfig.from_flat(dict(self.config.fixed) | dict(values))


def resolve_definition(
    paths: StudyPaths,
    *,
    space: Path | Mapping[str, Any] | None,
    overrides: Mapping[str, Any],
    fixed: Mapping[str, Any],
    legal: AllowedValues,
    label: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> StudyDefinition:
    """Resolve the definition of a study from its files and the options of this call.

    Args:
        paths: folder of the study, which may not exist yet.
        space: requested search space; None selects the recorded one, or an empty space.
        overrides: full keys of study.yaml given on the command line, e.g. `{"data.root": "d"}`; a
            mapping replaces a whole group.
        fixed: `--set`: full keys of the trial configuration.
        legal: allowed values that only the network libraries define (architectures, encoders,
            options).
        label: columns of a CSV space that become tags.
        ignore: columns of a CSV space that are ignored.

    Raises:
        ConfigError: a setting is not allowed, or a started study would change.
    """
    stored = _read_study_yaml(paths)
    is_started = _has_definition(stored, paths)
    location = str(paths.study_yaml)
    # The values of a started study stay those of its start, even if a reference would now differ.
    if is_started:
        fixed = recorded_references(fixed, paths, StudyConfig.from_mapping(stored, source=location))
    fixed_values = FixedValues.resolve(stored.get("fixed") or {}, fixed, paths, legal)
    new_space = None
    if space is not None:
        if isinstance(space, Path) and space.suffix.lower() == CSV_SUFFIX:
            fixed_values.raise_problems()  # its rows are checked together with all fixed values
        plain_fixed = fixed_values.plain_values
        new_space = _read_space(space, legal, label=label, ignore=ignore, fixed=plain_fixed)
    elif label or ignore:
        raise ConfigError("--label and --ignore need a --space that is a CSV file")
    if is_started:
        return _continue_definition(paths, stored, new_space, overrides, fixed, legal)
    base_space = new_space or _recorded_space(stored, paths, legal) or SearchSpace()
    fixed_space = fixed_values.apply_to(base_space, legal)
    settings = _apply_overrides(stored, overrides)
    values = settings | {
        "fixed": default_loss_weights(settings, fixed_space) | fixed_space.fixed,
        "taken": fixed_values.references_in(fixed_space),
        # A new id for each start: a deleted study and its successor of the same name
        # must not be confused in Optuna or MLflow.
        "id": uuid.uuid4().hex,
    }
    if isinstance(space, Path):
        values["space"] = space.name
        values["question"] = settings.get("question") or first_comment(space)
    config = StudyConfig.from_mapping(values, source=location)
    definition = StudyDefinition(config, base_space, is_started=False)
    check_row_space(definition.space, legal)
    return definition


def study_is_started(paths: StudyPaths) -> bool:
    """True if the folder contains a complete definition with an id."""
    return _has_definition(_read_study_yaml(paths), paths)


def _has_definition(stored: Mapping[str, Any], paths: StudyPaths) -> bool:
    return stored.get("id") is not None and paths.space_yaml.exists()


def record_trial_budget(paths: StudyPaths, config: StudyConfig, trials: int) -> StudyConfig:
    """Write a new number of trials into study.yaml; it is not part of the definition."""
    budget = config.budget.model_copy(update={"trials": trials})
    config = config.model_copy(update={"budget": budget})
    files.write_text(paths.study_yaml, strict_yaml.dump_yaml(config.model_dump(mode="json")))
    return config


def default_loss_weights(study: Mapping[str, Any], space: SearchSpace) -> dict[str, Any]:
    """Default weights of the two cross-entropies where the space does not set them.

    `loss.bce`, the default, does not fit multiclass tasks; `loss.ce` fits every task. A multiclass
    task therefore uses `loss.ce` instead, and a space that sets `loss.ce` alone has no `loss.bce`.
    """
    multiclass = (study.get("data") or {}).get("task") == "multiclass"
    mentioned = {*space.fixed, *(parameter.key for parameter in space.parameters)}
    if "loss.bce" in mentioned:
        return {}
    if "loss.ce" in mentioned:
        unused = not multiclass and space.fixed.get("loss.ce") == 0
        return {} if unused else {"loss.bce": 0.0}
    return {"loss.bce": 0.0, "loss.ce": 1.0} if multiclass else {}


def _read_study_yaml(paths: StudyPaths) -> dict[str, Any]:
    if not paths.study_yaml.exists():
        return {}
    location = str(paths.study_yaml)
    value = strict_yaml.load_yaml(
        paths.study_yaml.read_text(encoding="utf-8"), source=location
    ).value
    if not isinstance(value, dict):
        raise ConfigError(f"{location}:1: must be a mapping such as `data: {{root: kvasir-seg}}`")
    StudyConfig.from_mapping(value | {"fixed": {}}, source=location)
    if not isinstance(value.get("fixed") or {}, dict):
        raise ConfigError(f"{location}: fixed: must be a mapping such as {{train.epochs: 5}}")
    return value


def _read_space(
    space: Path | Mapping[str, Any],
    legal: AllowedValues,
    *,
    label: Sequence[str],
    ignore: Sequence[str],
    fixed: Mapping[str, Any],
) -> SearchSpace:
    if isinstance(space, Path):
        return read_space(space, legal=legal, label=label, ignore=ignore, overrides=fixed)
    if label or ignore:
        raise ConfigError("label and ignore need a CSV space; this space is a mapping")
    return space_from_dict(space, source="space", legal=legal)


def _recorded_space(
    stored: Mapping[str, Any], paths: StudyPaths, legal: AllowedValues
) -> SearchSpace | None:
    """Search space next to a study.yaml that a user wrote by hand."""
    if paths.space_yaml.exists():
        return read_space(paths.space_yaml, legal=legal)
    if stored.get("space"):
        raise ConfigError(
            f"{paths.study_yaml}: space: {stored['space']} is a file name only; start the study "
            f"with: harness run --study {paths.name} --space {stored['space']}"
        )
    return None


def _apply_overrides(stored: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of study.yaml with overrides by dotted key; without `fixed` and `taken`."""
    mappings = (key for key, value in overrides.items() if isinstance(value, Mapping))
    replaced_keys = {"fixed", "taken", *mappings}
    groups = {key: value for key, value in stored.items() if key not in replaced_keys}
    return nest(flatten(groups) | dict(overrides))


def _continue_definition(
    paths: StudyPaths,
    stored: Mapping[str, Any],
    new_space: SearchSpace | None,
    overrides: Mapping[str, Any],
    fixed: Mapping[str, Any],
    legal: AllowedValues,
) -> StudyDefinition:
    location = str(paths.study_yaml)
    config = StudyConfig.from_mapping(stored, source=location)
    space = read_space(paths.space_yaml, legal=legal)
    fixed_space = with_fixed(replace(space, fixed=config.fixed), fixed, source="--set", legal=legal)
    unchanged = {"fixed": fixed_space.fixed, "taken": stored.get("taken") or {}}
    new_config = StudyConfig.from_mapping(
        _apply_overrides(stored, overrides) | unchanged, source=location
    )
    # The image folder may have moved: split.csv contains the hashes of all images, which are
    # verified separately.
    same_root = {"data": new_config.data.model_copy(update={"root": config.data.root})}
    changes = config_differences(
        config.definition(), new_config.model_copy(update=same_root).definition()
    )
    if new_space is not None:
        changes += config_differences(space.as_dict(), new_space.as_dict(), "space: ")
    if changes:
        raise ConfigError(
            [
                f"study {paths.name} has started and must not change; this would change it:",
                *(f"  {line}" for line in changes),
                "start a new study under another name with --study",
            ]
        )
    changeable = ("question", "budget", "limits", "data")
    update = {name: getattr(new_config, name) for name in changeable}
    return StudyDefinition(config.model_copy(update=update), space, is_started=True)


def config_differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """One line for each differing key: `<prefix><key>: <recorded> -> <requested>`."""
    # A round trip through JSON makes tuples and lists equal.
    before, after = (flatten(_index_mappings(json.loads(json.dumps(side)))) for side in (old, new))
    keys = [*before, *(key for key in after if key not in before)]
    return [
        f"{prefix}{key}: {before.get(key, 'absent')!r} -> {after.get(key, 'absent')!r}"
        for key in keys
        if before.get(key, "absent") != after.get(key, "absent")
    ]


def _index_mappings(value: Any) -> Any:
    """Lists of mappings as mappings by number, so that a change names one row, not the list."""
    if isinstance(value, dict):
        return {key: _index_mappings(item) for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return {str(i + 1): _index_mappings(item) for i, item in enumerate(value)}
    return value
