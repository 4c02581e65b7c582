"""Command `harness studies`: all studies of a workspace."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harness import api
from harness.cli.options import WorkspaceOption
from harness.cli.tables import fit_table, stdout_console
from harness.core.text import count, format_bytes
from harness.maintenance.listing import StudySummary

COLUMNS = ("study", "state", "trials", "best", "size", "changed (UTC)", "data")


def studies(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """List the studies of a workspace: question, data, state, trials, best value, size, change.

    Example: harness studies
    """
    summaries = api.studies(workspace=workspace)
    if json_:
        sys.stdout.write(json.dumps([asdict(summary) for summary in summaries], indent=1) + "\n")
        return
    console = stdout_console()
    if not summaries:
        sys.stdout.write("no studies yet; start with: harness init FOLDER, or harness demo\n")
        return
    title = f"{count(len(summaries), 'study')} in {Path(workspace).expanduser().resolve()}"
    rows = [_row(summary) for summary in summaries]
    console.print(fit_table(title, COLUMNS, rows, console.width, text="question"))


def _row(study: StudySummary) -> tuple[str, ...]:
    n_done = str(study.trials_done)
    best = "" if study.best is None else f"{study.best:.4f} (#{study.best_trial})"
    return (
        study.name,
        study.state,
        n_done if study.trials_asked is None else f"{n_done} of {study.trials_asked}",
        best if study.metric in (None, "val/dice_loss") else f"{best} {study.metric}".strip(),
        format_bytes(study.size_bytes),
        study.changed[:16].replace("T", " "),
        study.data or "",
        study.problem or study.question or "",
    )
