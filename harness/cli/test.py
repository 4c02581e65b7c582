"""`harness test`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import api
from harness.cli.display import open_progress
from harness.cli.tables import fit_table, stdout_console
from harness.evaluation.held_out.images import parse_external_datasets
from harness.evaluation.held_out.ledger import TEST_SPLIT, HeldOutTest
from harness.report.page.held_out_section import build_run_view
from harness.report.tables.sheets import ReportSheet


def evaluate_test_split(
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
    other_sources = parse_external_datasets(on or [])
    opened = api.open_study(study, workspace=workspace)
    progress = open_progress()
    try:
        looks = opened.test(
            trial=trial,
            ensemble=ensemble,
            tta=tta,
            on=other_sources,
            device=device,
            progress=progress,
        )
    finally:
        progress.close()
    console = stdout_console()
    for look in looks:
        _print_test_run(console, opened, look)
    ledger = opened.looks
    console.print(escape(ledger.sentence()))
    for look in looks:
        n = ledger.count_tests(look.start.data.name)
        if n > 1:
            source_note = (
                "" if look.start.data.name == TEST_SPLIT else f" at {look.start.data.name}"
            )
            console.print(escape(f"this is look {n}{source_note}: choose nothing by it"))


def _print_test_run(console: Console, study: api.Study, look: HeldOutTest) -> None:
    page = build_run_view(look, brief=True)
    console.print(escape(f"{study.name}: {page.title}"))
    for fact in page.facts:
        console.print(escape(fact))
    for title, sheet in page.sheets:
        console.print(held_out_table(title, sheet, console.width))
    scores = study.paths.test_run(look.number).scores_csv
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"rows: {scores}", markup=False)


def held_out_table(title: str, sheet: ReportSheet, width: int) -> Table:
    """What the row is, its numbers, then what they mean."""
    _, *other_columns = range(len(sheet.columns))
    order = [0, *sorted(other_columns, key=lambda k: sheet.columns[k].kind != "number")]
    rows = [[row[k].text for k in order] for row in sheet.rows]
    return fit_table(title, [sheet.columns[k].title for k in order], rows, width)
