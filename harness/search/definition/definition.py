"""A study's definition: settled before trial 0, written down, and the same ever after."""

import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.config.study import StudyConfig, TrialConfig
from harness.config.user_code import PartsFile
from harness.core import files, strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.settings import flatten, nest
from harness.data.splits.splits import SplitRow, write_split
from harness.search.definition.fixed_values import FixedValues
from harness.search.definition.value_references import recorded_references
from harness.space.reading.load_space import CSV_SUFFIX, read_space, space_from_dict, with_fixed
from harness.space.reading.row_space import check_row_space
from harness.space.space import AllowedValues, SearchSpace


@dataclass(frozen=True)
class StudyDefinition:
    """What a study is: its configuration, its space as recorded, and whether it has begun."""

    config: StudyConfig
    recorded_space: SearchSpace
    is_started: bool

    @cached_property
    def space(self) -> SearchSpace:
        """The space with the study's fixed values, `--set` included, in place of its own."""
        return replace(self.recorded_space, fixed=dict(self.config.fixed))

    def trial_config(self, values: Mapping[str, Any]) -> TrialConfig:
        """The whole configuration of a trial: defaults, fixed values, then the drawn ones."""
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
    """The definition of a study, from its files and from what was asked for now.

    Args:
        paths: the study's folder, which may not exist yet.
        space: the space asked for; None takes the recorded one, else no parameters at all.
        overrides: full keys of study.yaml given on the command line, e.g. `{"data.root": "d"}`; a
            mapping replaces a whole group.
        fixed: `--set`: full keys of the trial configuration.
        legal: names that floor 0 does not know (architectures, encoders, options).
        label: columns of a CSV kept as tags.
        ignore: columns of a CSV left out.

    Raises:
        ConfigError: for illegal settings, or when a study that has begun would change.
    """
    stored = _read_study_yaml(paths)
    is_started = _has_definition(stored, paths)
    location = str(paths.study_yaml)
    if is_started:
        fixed = recorded_references(fixed, paths, StudyConfig.from_mapping(stored, source=location))
    fixed_values = FixedValues.resolve(stored.get("fixed") or {}, fixed, paths, legal)
    new_space = None
    if space is not None:
        if isinstance(space, Path) and space.suffix.lower() == CSV_SUFFIX:
            fixed_values.raise_problems()  # its rows can only be judged beside all of them
        plain_fixed = fixed_values.plain_values
        new_space = _read_space(space, legal, label=label, ignore=ignore, fixed=plain_fixed)
    elif label or ignore:
        raise ConfigError("--label and --ignore name columns of a --space that is a CSV")
    if is_started:
        return _continue_definition(paths, stored, new_space, overrides, fixed, legal)
    base_space = new_space or _recorded_space(stored, paths, legal) or SearchSpace()
    fixed_space = fixed_values.apply_to(base_space, legal)
    settings = _apply_overrides(stored, overrides)
    values = settings | {
        "fixed": default_loss_weights(settings, fixed_space) | fixed_space.fixed,
        "taken": fixed_values.references_in(fixed_space),
        "id": uuid.uuid4().hex,
    }
    if isinstance(space, Path):
        values["space"] = space.name
    config = StudyConfig.from_mapping(values, source=location)
    definition = StudyDefinition(config, base_space, is_started=False)
    check_row_space(definition.space, legal)
    return definition


def write_definition(
    paths: StudyPaths,
    definition: StudyDefinition,
    split: Sequence[SplitRow],
    augments: Sequence[Path] = (),
    parts: PartsFile | None = None,
) -> None:
    """Write split, space and, last, study.yaml, whose id says that the study has begun.

    Args:
        augments: files of augmentation steps, which are copied into the study.
        parts: the file of the user's own networks, losses and metrics, copied as it was read.
    """
    copies = {paths.augments / path.name: path.read_bytes() for path in augments}
    if parts is not None:
        copies[paths.parts(parts.path.name)] = parts.data
    targets = [*copies, paths.split_csv, paths.space_yaml, paths.study_yaml]
    new = [path for path in targets if not path.exists()]
    try:
        for path, data in copies.items():
            files.write_bytes(path, data)
        write_split(paths.split_csv, split)
        files.write_text(
            paths.space_yaml, strict_yaml.dump_yaml(definition.recorded_space.as_dict())
        )
        config = definition.config.model_dump(mode="json")
        files.write_text(paths.study_yaml, strict_yaml.dump_yaml(config))
    except BaseException:  # also a signal: half a study would be taken for files of the user's
        for path in new:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            paths.augments.rmdir()
        raise


def study_is_started(paths: StudyPaths) -> bool:
    """Whether a study's folder holds a whole definition with an id."""
    return _has_definition(_read_study_yaml(paths), paths)


def _has_definition(stored: Mapping[str, Any], paths: StudyPaths) -> bool:
    return stored.get("id") is not None and paths.space_yaml.exists()


def record_trial_budget(paths: StudyPaths, config: StudyConfig, trials: int) -> StudyConfig:
    """Record a new number of trials, which is no part of the definition."""
    budget = config.budget.model_copy(update={"trials": trials})
    config = config.model_copy(update={"budget": budget})
    files.write_text(paths.study_yaml, strict_yaml.dump_yaml(config.model_dump(mode="json")))
    return config


def default_loss_weights(study: Mapping[str, Any], space: SearchSpace) -> dict[str, Any]:
    """Weights of the two cross-entropies where the space leaves them open.

    `loss.ce` fits every task; `loss.bce`, the default, fits all but multiclass ones. A space that
    names `loss.ce` alone has no `loss.bce`; a multiclass task has `loss.ce` in its place.
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
        raise ConfigError("label and ignore name columns of a CSV; this space is a mapping")
    return space_from_dict(space, source="space", legal=legal)


def _recorded_space(
    stored: Mapping[str, Any], paths: StudyPaths, legal: AllowedValues
) -> SearchSpace | None:
    """The space beside a study.yaml that a user wrote by hand."""
    if paths.space_yaml.exists():
        return read_space(paths.space_yaml, legal=legal)
    if stored.get("space"):
        raise ConfigError(
            f"{paths.study_yaml}: names the space {stored['space']}; start it with: "
            f"harness run --study {paths.name} --space {stored['space']}"
        )
    return None


def _apply_overrides(stored: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """study.yaml with what was asked laid over it; without `fixed` and `taken` (dotted keys)."""
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
    same_root = {"data": new_config.data.model_copy(update={"root": config.data.root})}
    # The same images may lie elsewhere: split.csv holds their hashes, and they are compared.
    changes = config_differences(
        config.definition(), new_config.model_copy(update=same_root).definition()
    )
    if new_space is not None:
        changes += config_differences(space.as_dict(), new_space.as_dict(), "space: ")
    if changes:
        raise ConfigError(
            [
                f"study {paths.name} has begun, and a study never changes; this would change it:",
                *(f"  {line}" for line in changes),
                "start a new one: give it another name with --study",
            ]
        )
    update = {"budget": new_config.budget, "limits": new_config.limits, "data": new_config.data}
    return StudyDefinition(config.model_copy(update=update), space, is_started=True)


def config_differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """One line for each key that differs: `<prefix><key>: <recorded> -> <asked>`."""
    before, after = (flatten(_index_mappings(json.loads(json.dumps(side)))) for side in (old, new))
    keys = [*before, *(key for key in after if key not in before)]
    return [
        f"{prefix}{key}: {before.get(key, 'absent')!r} -> {after.get(key, 'absent')!r}"
        for key in keys
        if before.get(key, "absent") != after.get(key, "absent")
    ]


def _index_mappings(value: Any) -> Any:
    """Lists of mappings as mappings from their numbers, so that one row differs, not the list."""
    if isinstance(value, dict):
        return {key: _index_mappings(item) for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return {str(i + 1): _index_mappings(item) for i, item in enumerate(value)}
    return value
