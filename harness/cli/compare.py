"""Command `harness compare`: several studies in tables and on one page."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import api
from harness.cli.completion import complete_other_study
from harness.cli.options import WorkspaceOption
from harness.cli.tables import fit_table, stdout_console
from harness.core.text import truncate

if TYPE_CHECKING:
    from harness.report.analysis.study_comparison import StudyComparison

_MAX_VALUE = 40  # characters of a setting; the page has all of them


def compare(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY...", help="Names of the studies.", autocompletion=complete_other_study
        ),
    ],
    html: Annotated[
        Path, typer.Option(metavar="FILE", help="The page. Example: --html losses.html")
    ] = Path("compare.html"),
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, and write no page.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Compare studies: results, definitions, learning curves, leading trials image by image.

    Example: harness compare encoders encoders2
    """
    comparison = api.compare(*studies, page=None if json_ else html, workspace=workspace)
    if json_:
        sys.stdout.write(json.dumps(asdict(comparison), indent=1) + "\n")
        return
    _print_comparison(comparison)
    sys.stdout.write(f"page: {html}\n")


def _print_comparison(comparison: "StudyComparison") -> None:
    from harness.report.analysis.study_comparison import RESULT_COLUMNS  # noqa: PLC0415  # pandas

    console = stdout_console()
    console.print(
        fit_table("results", RESULT_COLUMNS, comparison.results, console.width, text="question")
    )
    for line in (*comparison.confirmed, *comparison.paired):
        console.print(line, markup=False, soft_wrap=True)
    if not comparison.differences:
        console.print("the definitions are equal")
        return
    rows = [tuple(truncate(cell, _MAX_VALUE) for cell in row) for row in comparison.differences]
    columns = ("setting", *comparison.names)
    console.print(fit_table("what differs in the definitions", columns, rows, console.width))
