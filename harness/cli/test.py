"""`harness test`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import api
from harness.cli.display import open_progress
from harness.evaluation.sealed_data import parse_others
from harness.evaluation.sealed_ledger import OWN, Look
from harness.report.looks import shown
from harness.report.sheets import Sheet

WIDTH = 140  # characters, where standard output is no terminal


def open_sealed(
    study: Annotated[str, typer.Option(help="Name of the study.")],
    trial: Annotated[
        int | None, typer.Option(help="Number of a trial; else the confirmed choice.")
    ] = None,
    tta: Annotated[bool, typer.Option("--tta", help="Average over four flips.")] = False,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average over the confirmed seeds of the choice.")
    ] = False,
    on: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER of other images, instead of the study's; may be repeated."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    workspace: Annotated[
        Path, typer.Option(help="Folder of studies, data and databases.")
    ] = Path(),
) -> None:
    """Open the sealed test images, once: what the chosen weights do on them. Every look is entered.

    Example: harness test --study encoders
    """
    others = parse_others(on or [])
    opened = api.open_study(study, workspace=workspace)
    progress = open_progress()
    try:
        looks = opened.test(
            trial=trial, ensemble=ensemble, tta=tta, on=others, device=device, progress=progress
        )
    finally:
        progress.close()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    for look in looks:
        _print(console, opened, look)
    ledger = opened.looks
    console.print(escape(ledger.sentence()))
    for look in looks:
        n = ledger.n_looks(look.opened.data.name)
        if n > 1:
            whose = "" if look.opened.data.name == OWN else f" at {look.opened.data.name}"
            console.print(escape(f"this is look {n}{whose}: choose nothing by it"))


def _print(console: Console, study: api.Study, look: Look) -> None:
    page = shown(look, brief=True)
    console.print(escape(f"{study.name}: {page.title}"))
    for fact in page.facts:
        console.print(escape(fact))
    for title, sheet in page.sheets:
        console.print(_table(title, sheet))
    scores = study.paths.look(look.number).scores_csv
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"rows: {scores}", markup=False)


def _table(title: str, sheet: Sheet) -> Table:
    table = Table(title=escape(title), title_style="", title_justify="left")
    for column in sheet.columns:
        justify: Literal["right", "left"] = "right" if column.kind == "number" else "left"
        table.add_column(escape(column.title), justify=justify)
    for row in sheet.rows:
        table.add_row(*(escape(cell.text) for cell in row))
    return table
