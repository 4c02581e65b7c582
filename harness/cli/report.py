"""`harness report`."""

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness import api
from harness.cli.tables import fitted_table, stdout_console
from harness.records import TrialRecord
from harness.report.baseline import against
from harness.report.export import Format, export
from harness.report.noise import noise_sentence, pooled_noise
from harness.report.tables import StudyTables, leaderboard, of_state, ranked_records
from harness.report.traps import traps
from harness.search.progress import configuration

SHOWN = 10


def report(
    study: Annotated[str, typer.Option(help="Name of the study.")],
    images: Annotated[bool, typer.Option(help="Draw what the best trials predict.")] = True,
    baseline: Annotated[
        str | None, typer.Option(help="Compare the leading trial with that of this study.")
    ] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="Print the leaderboard as this instead.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    workspace: Annotated[
        Path, typer.Option(help="Folder of studies, data and databases.")
    ] = Path(),
) -> None:
    """Write report.html and trials.csv, and print the leaderboard.

    Example: harness report --study encoders --baseline earlier
    """
    opened = api.open_study(study, workspace=workspace)
    path = opened.report(images=images, baseline=baseline)
    tables = opened.tables
    compared = None
    if baseline is not None:
        compared = against(tables, api.open_study(baseline, workspace=workspace).tables)
    if format_ is not None:
        sys.stdout.write(export(tables, format_, compared))
    else:
        print_leaderboard(opened)
        if compared is not None:
            Console(highlight=False, soft_wrap=True).print(compared.sentence, markup=False)
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"report: {path}", markup=False)
    if open_:
        webbrowser.open(path.as_uri())


def print_leaderboard(study: api.Study) -> None:
    """Complete trials, best first, on standard output; pruned and failed ones are counted."""
    tables = study.tables
    metric = tables.config.objective.metric
    board = leaderboard(tables)
    console = stdout_console()
    if board.empty:
        states = ", ".join(
            f"{len(of_state(tables, state))} {state}" for state in ("pruned", "failed")
        )
        said = f"{study.name}: no trial is complete yet, so there is nothing to rank ({states})."
        console.print(said, markup=False)
        return
    rows = []
    for row in board.head(SHOWN).to_dict("records"):
        record = tables.record(int(row["number"]))
        numbers = [record.value, record.best.get("best/dice"), record.best.get("best/iou")]
        rows.append(
            (
                *(str(row["rank"]), str(record.number)),
                *("" if number is None else f"{number:.4f}" for number in numbers),
                str(record.best_epoch),
                configuration(record.params) + _marks(record),
            )
        )
    title = f"{study.name}: complete trials, best {metric} first"
    columns = ("rank", "trial", metric, "dice", "iou", "epoch")
    table = fitted_table(title, columns, rows, console.width, text="configuration")
    console.print(table)
    counts = {state: len(of_state(tables, state)) for state in ("complete", "pruned", "failed")}
    shown = f", the best {SHOWN} shown" if counts["complete"] > SHOWN else ""
    console.print(
        f"{counts['complete']} complete{shown}, {counts['pruned']} pruned, "
        f"{counts['failed']} failed{_imported(tables)}. {_standing(study)}",
        markup=False,
    )
    ranked = ranked_records(tables)
    noise = pooled_noise(tables.records, ranked)
    if noise is not None:
        console.print(noise_sentence(noise, ranked))
    found = traps(tables)
    if found:
        console.print("Before you believe this:")
    for sentence in found:
        console.print(f"- {sentence}", markup=False)


def _standing(study: api.Study) -> str:
    """What the first place is worth."""
    confirmed = study.confirmation
    if confirmed is None or confirmed.decision is None:
        return "The first is leading, not confirmed."
    return f"Confirmed: {confirmed.sentence}"


def _marks(record: TrialRecord) -> str:
    repeats = "" if record.repeats is None else f" (repeats #{record.repeats})"
    return repeats + ("" if record.imported is None else f" (from {record.imported})")


def _imported(tables: StudyTables) -> str:
    n = sum(record.imported is not None for record in tables.records)
    return f", {n} of them imported" if n else ""
