"""Command `harness trials`: print the trials of a study as table, CSV or JSON."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import api
from harness.cli.options import StudyOption, WorkspaceOption
from harness.cli.tables import fit_table, stdout_console
from harness.config.progress import short_configuration
from harness.core import files
from harness.core.errors import ConfigError
from harness.core.paths import expand_user_path
from harness.core.text import count
from harness.report.tables.study_tables import StudyTables
from harness.report.tables.trials_csv import trials_as_csv_space, trials_as_dicts


def trials(
    study: StudyOption,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print a CSV file that can be used as a space.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write to this file. Default: standard output. Example: --out again.csv"),
    ] = None,
    workspace: WorkspaceOption = Path(),
) -> None:
    """List the trials of a study with state, value and configuration.

    Example: harness trials --study encoders --csv --out again.csv
    """
    if csv and json_:
        raise ConfigError("--csv and --json exclude one another; give one of them")
    tables = api.open_study(study, workspace=workspace).tables
    if csv:
        text = trials_as_csv_space(tables)
    elif json_:
        text = json.dumps(trials_as_dicts(tables), indent=1) + "\n"
    elif out is not None:
        raise ConfigError(f"--out {out}: the table is only printed; add --csv or --json")
    else:
        _print_table(study, tables)
        return
    if out is None:
        # Not rich's console, which would fold long lines and read `[red]` as markup.
        sys.stdout.write(text)
    else:
        # A shell expands ~ only at the start of a word, so not in `--out=~/again.csv`.
        files.write_text(expand_user_path(out), text)


def _print_table(name: str, tables: StudyTables) -> None:
    metric = tables.config.objective.metric
    labels = list(dict.fromkeys(label for record in tables.records for label in record.labels))
    rows = [
        (
            str(record.number),
            record.state,
            "" if record.value is None else f"{record.value:.4f}",
            *(record.labels.get(label, "") for label in labels),
            short_configuration(record.params),
        )
        for record in tables.records
    ]
    console = stdout_console()
    title = f"{name}: {count(len(tables.records), 'trial')}"
    columns = ("trial", "state", metric, *labels)
    console.print(fit_table(title, columns, rows, console.width, text="configuration"))
