"""A study's definition: settled before trial 0, written down, and the same ever after."""

import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import files, strict_yaml
from harness.config import StudyConfig, TrialConfig
from harness.data.splits import SplitRow, write_split
from harness.errors import ConfigError
from harness.parts_files import PartsFile
from harness.paths import StudyPaths
from harness.search.fixed_values import FixedValues
from harness.search.taking import as_taken
from harness.settings import flatten, nest
from harness.space.listed import check_listed
from harness.space.reading import CSV, lay_over, read_space, space_from_dict
from harness.space.schema import Legal, Space


@dataclass(frozen=True)
class Definition:
    """What a study is: its configuration, its space as recorded, and whether it has begun."""

    config: StudyConfig
    recorded: Space
    begun: bool

    @cached_property
    def space(self) -> Space:
        """The space with the study's fixed values, `--set` included, in place of its own."""
        return replace(self.recorded, fixed=dict(self.config.fixed))

    def trial_config(self, values: Mapping[str, Any]) -> TrialConfig:
        """The whole configuration of a trial: defaults, fixed values, then the drawn ones."""
        return TrialConfig.from_flat(dict(self.config.fixed) | dict(values))


def settle(
    paths: StudyPaths,
    *,
    space: Path | Mapping[str, Any] | None,
    asked: Mapping[str, Any],
    fixed: Mapping[str, Any],
    legal: Legal,
    label: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Definition:
    """The definition of a study, from its files and from what was asked for now.

    Args:
        paths: the study's folder, which may not exist yet.
        space: the space asked for; None takes the recorded one, else no parameters at all.
        asked: full keys of study.yaml given on the command line, e.g. `{"data.root": "d"}`; a
            mapping replaces a whole group.
        fixed: `--set`: full keys of the trial configuration.
        legal: names that floor 0 does not know (architectures, encoders, options).
        label: columns of a CSV kept as tags.
        ignore: columns of a CSV left out.

    Raises:
        ConfigError: for illegal settings, or when a study that has begun would change.
    """
    stored = _stored(paths)
    begun = _is_begun(stored, paths)
    place = str(paths.study_yaml)
    if begun:
        fixed = as_taken(fixed, paths, StudyConfig.from_mapping(stored, place=place))
    fixed_values = FixedValues.take(stored.get("fixed") or {}, fixed, paths, legal)
    asked_space = None
    if space is not None:
        if isinstance(space, Path) and space.suffix.lower() == CSV:
            fixed_values.raise_any()  # its rows can only be judged beside all of them
        beside = fixed_values.plain
        asked_space = _read(space, legal, label=label, ignore=ignore, beside=beside)
    elif label or ignore:
        raise ConfigError("--label and --ignore name columns of a --space that is a CSV")
    if begun:
        return _continued(paths, stored, asked_space, asked, fixed, legal)
    chosen = asked_space or _named(stored, paths, legal) or Space()
    laid = fixed_values.over(chosen, legal)
    overlaid = _overlaid(stored, asked)
    values = overlaid | {
        "fixed": loss_of_task(overlaid, laid) | laid.fixed,
        "taken": fixed_values.taken_in(laid),
        "id": uuid.uuid4().hex,
    }
    if isinstance(space, Path):
        values["space"] = space.name
    config = StudyConfig.from_mapping(values, place=place)
    definition = Definition(config, chosen, begun=False)
    check_listed(definition.space, legal)
    return definition


def write_definition(
    paths: StudyPaths,
    definition: Definition,
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
        files.write_text(paths.space_yaml, strict_yaml.dump(definition.recorded.as_dict()))
        config = definition.config.model_dump(mode="json")
        files.write_text(paths.study_yaml, strict_yaml.dump(config))
    except BaseException:  # also a signal: half a study would be taken for files of the user's
        for path in new:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            paths.augments.rmdir()
        raise


def has_begun(paths: StudyPaths) -> bool:
    """Whether a study's folder holds a whole definition with an id."""
    return _is_begun(_stored(paths), paths)


def _is_begun(stored: Mapping[str, Any], paths: StudyPaths) -> bool:
    return stored.get("id") is not None and paths.space_yaml.exists()


def with_budget(paths: StudyPaths, config: StudyConfig, trials: int) -> StudyConfig:
    """Record a new number of trials, which is no part of the definition."""
    budget = config.budget.model_copy(update={"trials": trials})
    config = config.model_copy(update={"budget": budget})
    files.write_text(paths.study_yaml, strict_yaml.dump(config.model_dump(mode="json")))
    return config


def loss_of_task(study: Mapping[str, Any], space: Space) -> dict[str, Any]:
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


def _stored(paths: StudyPaths) -> dict[str, Any]:
    if not paths.study_yaml.exists():
        return {}
    place = str(paths.study_yaml)
    value = strict_yaml.load(paths.study_yaml.read_text(encoding="utf-8"), place=place).value
    if not isinstance(value, dict):
        raise ConfigError(f"{place}:1: must be a mapping such as `data: {{root: kvasir-seg}}`")
    StudyConfig.from_mapping(value | {"fixed": {}}, place=place)
    if not isinstance(value.get("fixed") or {}, dict):
        raise ConfigError(f"{place}: fixed: must be a mapping such as {{train.epochs: 5}}")
    return value


def _read(
    space: Path | Mapping[str, Any],
    legal: Legal,
    *,
    label: Sequence[str],
    ignore: Sequence[str],
    beside: Mapping[str, Any],
) -> Space:
    if isinstance(space, Path):
        return read_space(space, legal=legal, label=label, ignore=ignore, beside=beside)
    if label or ignore:
        raise ConfigError("label and ignore name columns of a CSV; this space is a mapping")
    return space_from_dict(space, place="space", legal=legal)


def _named(stored: Mapping[str, Any], paths: StudyPaths, legal: Legal) -> Space | None:
    """The space beside a study.yaml that a user wrote by hand."""
    if paths.space_yaml.exists():
        return read_space(paths.space_yaml, legal=legal)
    if stored.get("space"):
        raise ConfigError(
            f"{paths.study_yaml}: names the space {stored['space']}; start it with: "
            f"harness run --study {paths.name} --space {stored['space']}"
        )
    return None


def _overlaid(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """study.yaml with what was asked laid over it; without `fixed` and `taken` (dotted keys)."""
    mappings = (key for key, value in asked.items() if isinstance(value, Mapping))
    whole = {"fixed", "taken", *mappings}
    groups = {key: value for key, value in stored.items() if key not in whole}
    return nest(flatten(groups) | dict(asked))


def _continued(
    paths: StudyPaths,
    stored: Mapping[str, Any],
    asked_space: Space | None,
    asked: Mapping[str, Any],
    fixed: Mapping[str, Any],
    legal: Legal,
) -> Definition:
    place = str(paths.study_yaml)
    config = StudyConfig.from_mapping(stored, place=place)
    space = read_space(paths.space_yaml, legal=legal)
    laid = lay_over(replace(space, fixed=config.fixed), fixed, place="--set", legal=legal)
    same = {"fixed": laid.fixed, "taken": stored.get("taken") or {}}
    wanted = StudyConfig.from_mapping(_overlaid(stored, asked) | same, place=place)
    same_place = {"data": wanted.data.model_copy(update={"root": config.data.root})}
    # The same images may lie elsewhere: split.csv holds their hashes, and they are compared.
    changes = differences(config.definition(), wanted.model_copy(update=same_place).definition())
    if asked_space is not None:
        changes += differences(space.as_dict(), asked_space.as_dict(), "space: ")
    if changes:
        raise ConfigError(
            [
                f"study {paths.name} has begun, and a study never changes; this would change it:",
                *(f"  {line}" for line in changes),
                "start a new one: give it another name with --study",
            ]
        )
    update = {"budget": wanted.budget, "limits": wanted.limits, "data": wanted.data}
    return Definition(config.model_copy(update=update), space, begun=True)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One line for each key that differs: `<prefix><key>: <recorded> -> <asked>`."""
    before, after = (flatten(_numbered(json.loads(json.dumps(side)))) for side in (old, new))
    keys = [*before, *(key for key in after if key not in before)]
    return [
        f"{prefix}{key}: {before.get(key, 'absent')!r} -> {after.get(key, 'absent')!r}"
        for key in keys
        if before.get(key, "absent") != after.get(key, "absent")
    ]


def _numbered(value: Any) -> Any:
    """Lists of mappings as mappings from their numbers, so that one row differs, not the list."""
    if isinstance(value, dict):
        return {key: _numbered(item) for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return {str(i + 1): _numbered(item) for i, item in enumerate(value)}
    return value
