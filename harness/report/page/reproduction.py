"""Information to run a study again: definition, command, environment and library versions."""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path

from harness.config.measurements import BUILTIN_METRICS
from harness.config.study import StudyConfig
from harness.core.records import TrialRecord
from harness.data.splits.split_origin import split_origin_text
from harness.data.splits.splits import SplitRow
from harness.report.tables.study_tables import (
    StudyTables,
)
from harness.search.pruning.curve_control import control_arm_line

_DEVICE_KINDS = {"cpu", "cuda", "mps"}


def environment_facts(tables: StudyTables) -> list[tuple[str, str]]:
    """Device, precision and git commit; several values if the trials differ."""
    values_by_name: dict[str, dict[str, None]] = {}
    for record in tables.records:
        recorded = {"device": record.device, "precision": record.precision}
        recorded["git commit"] = record.git_commit
        for name, value in recorded.items():
            if value is not None:
                values_by_name.setdefault(name, {})[value] = None
    return [(name, ", ".join(values)) for name, values in values_by_name.items()]


def repeat_study_name(tables: StudyTables) -> str:
    """Name of the repeated study, shortened so that it is within the 64 characters of a name."""
    return f"{tables.paths.name[:57]}-again"


def pip_requirements(tables: StudyTables) -> str:
    """Requirements for pip with the recorded versions, one `name==version` per line.

    The last version is required if trials ran with different ones; the others are in a comment. ""
    if no trial has recorded versions.
    """
    lines = []
    for name, versions in _library_versions(tables.records).items():
        *others, last = versions
        line = f"{name}=={last}" if name != "python" else f"# Python {last}"
        lines.append(line + (f"  # earlier trials: {', '.join(others)}" if others else ""))
    return "".join(f"{line}\n" for line in lines)


def _library_versions(records: Iterable[TrialRecord]) -> dict[str, dict[str, None]]:
    """Recorded versions by library in the order of their last use; python first."""
    versions_by_name: dict[str, dict[str, None]] = {}
    for record in records:
        for name, version in record.versions.items():
            # Removed and added again: the last key is then the version that was used last.
            versions_by_name.setdefault(name, {}).pop(version, None)
            versions_by_name[name][version] = None
    return dict(sorted(versions_by_name.items(), key=lambda item: (item[0] != "python", item[0])))


def reproduction_command(tables: StudyTables) -> str:
    """Command that repeats this study under another name."""
    config = tables.config
    finished = sum(record.state != "running" for record in tables.records)
    arguments = ["harness", "run", "--study", repeat_study_name(tables)]
    arguments += ["--space", f"studies/{tables.paths.name}/space.yaml", "--data", config.data.root]
    arguments += ["--trials", str(config.budget.trials or max(finished, 1))]
    arguments += objective_arguments(config)
    arguments += ["--sampler", config.sampler.name, "--pruner", config.pruner.name]
    arguments += ["--seed", str(config.seed)]
    # The device comes from trial.json, which somebody else may have written: only a known kind
    # enters the command line.
    kinds = {record.device.split()[0] for record in tables.records if record.device}
    if len(kinds) == 1 and kinds <= _DEVICE_KINDS:
        arguments += ["--device", *kinds]
    if config.parts is not None:
        arguments += ["--parts", f"studies/{tables.paths.name}/{config.parts.file}"]
    for plan in config.imports:
        arguments += ["--from", plan.study]
    for prior in config.priors:
        arguments += ["--prior", prior.study]
    return shlex.join([*arguments, *_fixed_arguments(tables)])


def _fixed_arguments(tables: StudyTables) -> list[str]:
    """`--set` for each fixed value that is not in the file of the space."""
    space_fixed = tables.space.get("fixed") or {}
    arguments = []
    for key, value in tables.config.fixed.items():
        if key not in space_fixed or space_fixed[key] != value:
            text = value if isinstance(value, str) else json.dumps(value)
            arguments += ["--set", f"{key}={text}"]
    return arguments


def objective_arguments(config: StudyConfig) -> list[str]:
    """`--objective` if it sets exactly this objective; [] for the default and for other cases.

    The option chooses the better way of a metric by itself. It is known here for built-in metrics
    only, since a report does not execute the file that registers others.
    """
    objective = config.objective
    entry = BUILTIN_METRICS.get(objective.metric.removeprefix("val/"))
    if objective == StudyConfig().objective or entry is None:
        return []
    return ["--objective", objective.metric] if entry.direction == objective.direction else []


def settings_outside_command(tables: StudyTables) -> list[str]:
    """Settings with a non-default value that only study.yaml can set, no option of the command."""
    has_objective = bool(objective_arguments(tables.config))
    objective_keys = {"metric", "direction"} if has_objective else set()
    settable_keys = {"data": {"root"}, "split": set(), "objective": objective_keys}
    settable_keys |= {"sampler": {"name"}}
    settable_keys |= {"pruner": {"name"}, "budget": {"trials"}, "limits": set()}
    defaults = StudyConfig()
    return [
        f"{group}.{key}: {json.dumps(value)}"
        for group, command_keys in settable_keys.items()
        for key, value in getattr(tables.config, group).model_dump(mode="json").items()
        if key not in command_keys
        and value != getattr(defaults, group).model_dump(mode="json").get(key)
    ]


def definition_facts(
    tables: StudyTables, split: list[SplitRow], data_root: Path | None
) -> list[tuple[str, str]]:
    """Data, split, objective, sampler, pruner and budget of the study, as pairs of name and value.

    Args:
        split: empty if split.csv is missing.
        data_root: folder that the paths of split.csv start from; None if it is not on this machine.
    """
    config = tables.config
    roles = {role: sum(row.role == role for row in split) for role in ("train", "val", "test")}
    counts = ", ".join(f"{n} {role}" for role, n in roles.items()) if split else "not found"
    return [
        ("data", f"{config.data.root}: {' / '.join(config.data.classes)}"),
        ("split", f"{counts} ({split_origin_text(config, split, data_root)})"),
        ("metrics at", config.data.metrics_size_text),
        ("objective", f"{config.objective.metric}, {config.objective.direction}"),
        ("sampler", config.sampler.name),
        ("pruner", control_arm_line(tables.paths, config) or config.pruner.name),
        ("trials planned", str(config.budget.trials or "not limited")),
        ("seed", str(config.seed)),
    ]
