"""`harness test`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import api
from harness.cli.display import open_progress
from harness.cli.tables import fitted_table, stdout_console
from harness.evaluation.sealed_data import parse_others
from harness.evaluation.sealed_ledger import OWN, Look
from harness.report.looks import shown
from harness.report.sheets import Sheet


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
    console = stdout_console()
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
        console.print(look_table(title, sheet, console.width))
    scores = study.paths.look(look.number).scores_csv
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"rows: {scores}", markup=False)


def look_table(title: str, sheet: Sheet, width: int) -> Table:
    """What the row is, its numbers, then what they mean."""
    _, *others = range(len(sheet.columns))
    order = [0, *sorted(others, key=lambda k: sheet.columns[k].kind != "number")]
    rows = [[row[k].text for k in order] for row in sheet.rows]
    return fitted_table(title, [sheet.columns[k].title for k in order], rows, width)
