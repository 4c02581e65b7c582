"""`harness trials`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import api, files
from harness.cli.tables import fitted_table, stdout_console
from harness.errors import ConfigError
from harness.paths import user_path
from harness.report.listing import trials_as_plain, trials_as_space
from harness.report.tables import StudyTables
from harness.search.progress import configuration
from harness.wording import count


def trials(
    study: Annotated[str, typer.Option(help="Name of the study.")],
    csv: Annotated[
        bool, typer.Option("--csv", help="Print a CSV that reads back as a space.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead.")] = None,
    workspace: Annotated[
        Path, typer.Option(help="Folder of studies, data and databases.")
    ] = Path(),
) -> None:
    """List the trials of a study: what was tried, and what came of it.

    Example: harness trials --study encoders --csv --out again.csv
    """
    if csv and json_:
        raise ConfigError("--csv and --json: give one")
    tables = api.open_study(study, workspace=workspace).tables
    if csv:
        text = trials_as_space(tables)
    elif json_:
        text = json.dumps(trials_as_plain(tables), indent=1) + "\n"
    elif out is not None:
        raise ConfigError("--out: add --csv or --json")
    else:
        _print_table(study, tables)
        return
    if out is None:
        sys.stdout.write(text)
    else:
        files.write_text(user_path(out), text)


def _print_table(name: str, tables: StudyTables) -> None:
    metric = tables.config.objective.metric
    labels = list(dict.fromkeys(label for record in tables.records for label in record.labels))
    rows = [
        (
            str(record.number),
            record.state,
            "" if record.value is None else f"{record.value:.4f}",
            *(record.labels.get(label, "") for label in labels),
            configuration(record.params),
        )
        for record in tables.records
    ]
    console = stdout_console()
    title = f"{name}: {count(len(tables.records), 'trial')}"
    columns = ("trial", "state", metric, *labels)
    console.print(fitted_table(title, columns, rows, console.width, text="configuration"))
