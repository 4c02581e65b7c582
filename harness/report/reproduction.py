"""What a reader needs to run a study again: the command, what it leaves out, what ran."""

import json
import shlex
from collections.abc import Iterable

from harness.config import StudyConfig
from harness.records import TrialRecord
from harness.report.tables import StudyTables

_DEVICES = {"cpu", "cuda", "mps"}


def stamps(tables: StudyTables) -> list[tuple[str, str]]:
    """Device, precision and code; several values where trials differ in them."""
    found: dict[str, dict[str, None]] = {}
    for record in tables.records:
        given = {"device": record.device, "precision": record.precision}
        given["git commit"] = record.git_commit
        for name, value in given.items():
            if value is not None:
                found.setdefault(name, {})[value] = None
    return [(name, ", ".join(values)) for name, values in found.items()]


def again(tables: StudyTables) -> str:
    """The name under which the study is repeated."""
    return f"{tables.paths.name[:57]}-again"


def requirements(tables: StudyTables) -> str:
    """What pip installs to have the same libraries, one `name==version` a line.

    "" where no version was recorded; a comment where trials ran with different ones.
    """
    lines = []
    for name, versions in _versions(tables.records).items():
        *others, last = versions
        line = f"{name}=={last}" if name != "python" else f"# Python {last}"
        lines.append(line + (f"  # earlier trials: {', '.join(others)}" if others else ""))
    return "".join(f"{line}\n" for line in lines)


def _versions(records: Iterable[TrialRecord]) -> dict[str, dict[str, None]]:
    """Every version that trials were stamped with, by name, in order of trial; python first."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for name, version in record.versions.items():
            found.setdefault(name, {}).pop(version, None)
            found[name][version] = None
    return dict(sorted(found.items(), key=lambda item: (item[0] != "python", item[0])))


def command(tables: StudyTables) -> str:
    """The command that repeats this study under another name."""
    config = tables.config
    finished = sum(record.state != "running" for record in tables.records)
    words = ["harness", "run", "--study", again(tables)]
    words += ["--space", f"studies/{tables.paths.name}/space.yaml", "--data", config.data.root]
    words += ["--trials", str(config.budget.trials or max(finished, 1))]
    words += ["--sampler", config.sampler.name, "--pruner", config.pruner.name]
    words += ["--seed", str(config.seed)]
    kinds = {record.device.split()[0] for record in tables.records if record.device}
    if len(kinds) == 1 and kinds <= _DEVICES:
        words += ["--device", *kinds]
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
    groups |= {"pruner": {"name"}, "budget": {"trials"}, "limits": set()}
    plain = StudyConfig()
    return [
        f"{group}.{key}: {json.dumps(value)}"
        for group, in_command in groups.items()
        for key, value in getattr(tables.config, group).model_dump(mode="json").items()
        if key not in in_command and value != getattr(plain, group).model_dump(mode="json").get(key)
    ]
