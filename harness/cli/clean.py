"""Command `harness clean`: disk use by study, and removal of what can be spared."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import api
from harness.cli.completion import complete_study
from harness.cli.confirmation import ask, can_ask
from harness.cli.options import WorkspaceOption
from harness.cli.tables import fit_table, stdout_console
from harness.core.text import count, format_bytes
from harness.maintenance.clean import CLEAN_KINDS, DEFAULT_KINDS
from harness.maintenance.disk_use import KINDS, DiskUse


def clean(
    study: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Clean this study alone. Example: --study encoders",
            autocompletion=complete_study,
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help=f"Remove this kind, of {', '.join(CLEAN_KINDS)}; may be repeated. "
            f"Default: {', '.join(DEFAULT_KINDS)}. Example: --remove overlays",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Show the disk use of every study, and remove what can be spared after a question.

    Example: harness clean
    """
    kinds = remove or []
    removals = api.removable(kinds=kinds, study=study, workspace=workspace)
    if not yes:
        _print_use(api.disk_use(workspace=workspace))
    if not removals:
        sys.stdout.write("nothing to remove\n")
        return
    sys.stdout.write("may go:\n" + "".join(f"  {removal.line}\n" for removal in removals))
    total = sum(removal.n_bytes for removal in removals)
    if not (yes or kinds or can_ask()):  # a list is all that such a call can have wanted
        sys.stdout.write("nothing was removed, since there is no terminal to ask on; add --yes\n")
        return
    ask(f"Remove these {format_bytes(total)}?", yes=yes)
    n_bytes = api.clean(kinds=kinds, study=study, workspace=workspace)
    sys.stdout.write(f"{format_bytes(n_bytes)} are free again\n")


def _print_use(use: DiskUse) -> None:
    console = stdout_console()
    rows = [
        (
            study_use.name,
            format_bytes(study_use.total),
            *(
                format_bytes(study_use.kinds[kind]) if study_use.kinds[kind] else ""
                for kind in KINDS
            ),
            format_bytes(study_use.mlflow) if study_use.mlflow else "",
        )
        for study_use in use.studies
    ]
    title = f"disk use of {count(len(rows), 'study')}"
    console.print(fit_table(title, ("study", "total", *KINDS, "MLflow"), rows, console.width))
    console.print(f"cache {format_bytes(use.cache)} · leftovers {format_bytes(use.leftovers)}")
