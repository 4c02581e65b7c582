"""Best configuration to copy: as YAML, as a command and as Python."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from harness.core.text import count
from harness.report.page.reproduction import objective_arguments
from harness.report.tables.study_tables import (
    StudyTables,
    best_configuration,
    ranked_records,
    trial_settings,
)


@dataclass(frozen=True)
class ConfigurationForm:
    """One form of the configuration; `note` says what it is for."""

    title: str
    note: str
    text: str


def configuration_forms(tables: StudyTables, choice: int | None) -> list[ConfigurationForm]:
    """Forms of the confirmed choice, or of the leading trial; [] if no trial is complete.

    The command and the Python text train the configuration once more as a study of its own. They
    set the searched parameters and the fixed values of the study.
    """
    text = best_configuration(tables, choice)
    if not text:
        return []
    record = ranked_records(tables)[0] if choice is None else tables.record(choice)
    flat = trial_settings(tables, record)
    searched = {key: flat.get(key, value) for key, value in record.params.items()}
    settings = {**tables.config.fixed, **searched}
    name = f"{tables.paths.name[:58]}-best"
    purpose = f"Trains trial {record.number} again, as study {name}"
    described = _needs_description(tables)
    more = "; first copy the data: block of study.yaml into its study.yaml" if described else ""
    return [
        ConfigurationForm(
            "YAML",
            f"All {count(len(flat) or len(searched), 'setting')}, as fixed values of a search "
            "space.",
            text,
        ),
        ConfigurationForm("Command", f"{purpose}{more}.", _command(tables, name, settings)),
        ConfigurationForm("Python", f"{purpose}{more}.", _python(tables, name, settings)),
    ]


def _needs_description(tables: StudyTables) -> bool:
    """True if the data is read by a description that no option of the command gives."""
    data = tables.config.data
    return data.task != "binary" or data.values is not None or data.channels != 3


def _command(tables: StudyTables, name: str, settings: dict[str, Any]) -> str:
    config = tables.config
    arguments = ["harness", "run", "--study", name, "--data", config.data.root, "--trials", "1"]
    arguments += objective_arguments(config)
    if config.parts is not None:
        arguments += ["--parts", f"studies/{tables.paths.name}/{config.parts.file}"]
    lines = [shlex.join(arguments)]
    for key, value in settings.items():
        text = value if isinstance(value, str) else json.dumps(value)
        lines.append(shlex.join(["--set", f"{key}={text}"]))
    return " \\\n    ".join(lines) + "\n"


def _python(tables: StudyTables, name: str, settings: dict[str, Any]) -> str:
    config = tables.config
    arguments = [f"data={config.data.root!r}", "trials=1"]
    if objective_arguments(config):
        arguments.append(f"objective={config.objective.metric!r}")
    if config.parts is not None:
        arguments.append(f"parts={f'studies/{tables.paths.name}/{config.parts.file}'!r}")
    # repr of plain values is Python; of a text it is quoted, whatever the text contains.
    values = "".join(f"        {key!r}: {value!r},\n" for key, value in settings.items())
    lines = "".join(f"    {argument},\n" for argument in arguments)
    return (
        f"import harness\n\nstudy = harness.run_study(\n    {name!r},\n{lines}"
        f"    fixed={{\n{values}    }},\n)\nprint(study.best.value)\n"
    )
