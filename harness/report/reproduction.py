"""What a reader needs to run a study again: the command, what it leaves out, what ran."""

import json
import shlex

from harness.config import StudyConfig
from harness.report.tables import StudyTables


def stamps(tables: StudyTables) -> list[tuple[str, str]]:
    """Device, precision, code and versions; several values where trials differ in them."""
    found: dict[str, dict[str, None]] = {}
    for record in tables.records:
        given = {"device": record.device, "precision": record.precision}
        given |= {"git commit": record.git_commit, **dict(sorted(record.versions.items()))}
        for name, value in given.items():
            if value is not None:
                found.setdefault(name, {})[value] = None
    return [(name, ", ".join(values)) for name, values in found.items()]


def again(tables: StudyTables) -> str:
    """The name under which the study is repeated."""
    return f"{tables.paths.name[:57]}-again"


def command(tables: StudyTables) -> str:
    """The command that repeats this study under another name."""
    config = tables.config
    finished = sum(record.state != "running" for record in tables.records)
    words = ["harness", "run", "--study", again(tables)]
    words += ["--space", f"studies/{tables.paths.name}/space.yaml", "--data", config.data.root]
    words += ["--trials", str(config.budget.trials or max(finished, 1))]
    words += ["--sampler", config.sampler.name, "--pruner", config.pruner.name]
    words += ["--seed", str(config.seed)]
    if config.parts is not None:
        words += ["--parts", f"studies/{tables.paths.name}/{config.parts.file}"]
    own = tables.space.get("fixed") or {}
    for plan in config.imports:
        words += ["--from", plan.study]
    for key, value in config.fixed.items():
        if key not in own or own[key] != value:
            words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def beside_command(tables: StudyTables) -> list[str]:
    """What no option of the command sets, only a study.yaml, where it is not at its default."""
    groups = {"data": {"root"}, "split": set(), "objective": set(), "sampler": {"name"}}
    groups |= {"pruner": {"name"}, "limits": set()}
    plain = StudyConfig()
    return [
        f"{group}.{key}: {json.dumps(value)}"
        for group, in_command in groups.items()
        for key, value in getattr(tables.config, group).model_dump(mode="json").items()
        if key not in in_command and value != getattr(plain, group).model_dump(mode="json").get(key)
    ]
