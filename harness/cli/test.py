"""Command `harness test`: held-out test of a study, printed as tables."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import api
from harness.cli.arguments import api_arguments, same_workspace
from harness.cli.display import open_progress
from harness.cli.options import (
    SEARCH,
    DeviceOption,
    StudyOption,
    TtaOption,
    WorkspaceOption,
    option,
)
from harness.cli.tables import fit_table, stdout_console
from harness.evaluation.held_out.images import parse_external_datasets
from harness.evaluation.held_out.ledger import TEST_SPLIT, HeldOutTest
from harness.report.page.held_out_section import build_run_view
from harness.report.tables.sheets import ReportSheet

TrialOption = Annotated[
    int | None,
    option(
        "Number of a trial of the search.",
        example="--trial 7",
        panel=SEARCH,
        default="the confirmed choice",
        metavar="N",
    ),
]
EnsembleOption = Annotated[
    bool,
    option(
        "Average the probabilities over all confirmed seeds of the choice.",
        "--ensemble",
        panel=SEARCH,
        default="the best seed",
    ),
]
OnOption = Annotated[
    list[str] | None,
    option(
        "Test on other images instead of the study's own; may be repeated.",
        example="--on clinic=data/clinic",
        panel=SEARCH,
        default="the test images of the study",
        metavar="NAME=FOLDER",
    ),
]


def evaluate_test_split(
    study: StudyOption,
    trial: TrialOption = None,
    tta: TtaOption = False,
    ensemble: EnsembleOption = False,
    on: OnOption = None,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = Path(),
) -> None:
    """Evaluate the chosen weights on the held-out test images; a ledger counts every test.

    Example: harness test --study encoders
    """
    arguments = api_arguments(locals())
    # Parsed before the study is opened: a mistake in --on costs no time and no test run.
    arguments["on"] = parse_external_datasets(on or [])
    opened = api.open_study(arguments.pop("study"), workspace=arguments.pop("workspace"))
    with closing(open_progress()) as progress:
        tests = opened.test(**arguments, progress=progress)
    console = stdout_console()
    for test in tests:
        _print_test_run(console, opened, test)
    ledger = opened.looks
    console.print(escape(ledger.sentence()))
    for test in tests:
        n = ledger.count_tests(test.start.data.name)
        if n > 1:
            name = test.start.data.name
            suffix = "" if name == TEST_SPLIT else f" on {name}"
            # A choice by test results turns the test images into validation images.
            console.print(escape(f"this is test run {n}{suffix}: select nothing by its result"))
    # On standard error, as in `report`: a redirected table holds the results alone.
    next_line = f"next: harness export --study {study} --out bundle{same_workspace(workspace)}"
    typer.echo(next_line, err=True)


def _print_test_run(console: Console, study: api.Study, test: HeldOutTest) -> None:
    page = build_run_view(test, brief=True)
    console.print(escape(f"{study.name}: {page.title}"))
    for fact in page.facts:
        console.print(escape(fact))
    for title, sheet in page.sheets:
        console.print(held_out_table(title, sheet, console.width))
    scores = study.paths.test_run(test.number).scores_csv
    # On standard error, so that a redirected table holds the results alone;
    # soft_wrap keeps the path in one piece, to be copied.
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"rows: {scores}", markup=False)


def held_out_table(title: str, sheet: ReportSheet, width: int) -> Table:
    """Table with the name of the row first, then its numbers, then texts about them."""
    # Numbers first: on a narrow terminal `fit_table` folds the last columns.
    _, *other_columns = range(len(sheet.columns))
    order = [0, *sorted(other_columns, key=lambda k: sheet.columns[k].kind != "number")]
    rows = [[row[k].text for k in order] for row in sheet.rows]
    return fit_table(title, [sheet.columns[k].title for k in order], rows, width)
