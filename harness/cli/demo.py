"""Command `harness demo`: a complete small study on generated images."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from harness import api
from harness.cli.arguments import same_workspace
from harness.cli.confirm import print_confirmation
from harness.cli.display import open_progress
from harness.cli.options import STORAGE, option

SPACE, TRIALS = "quickstart.yaml", 6
TOP, SEEDS = 2, 2  # confirmed: two configurations, each on the smallest number of fresh seeds

DemoWorkspaceOption = Annotated[
    Path,
    option(
        "New folder of the study, its data and databases.",
        example="--workspace ~/demo",
        panel=STORAGE,
        default="demo",
        metavar="FOLDER",
    ),
]


def demo(workspace: DemoWorkspaceOption = Path("demo")) -> None:
    """Search, confirm and report on generated polyps: two minutes on two CPU cores.

    Example: harness demo
    """
    # closing: after an exception rich's live display would leave the cursor hidden.
    with closing(open_progress()) as progress:
        study = api.run_study(
            space=SPACE, data="synthetic", trials=TRIALS, workspace=workspace, progress=progress
        )
    with closing(open_progress()) as progress:
        confirmation = study.confirm(top=TOP, seeds=SEEDS, progress=progress)
    print_confirmation(confirmation, study.tables.config.objective.metric)
    report = study.report()
    here = same_workspace(workspace)
    typer.echo(f"report: {report}", err=True)
    typer.echo(f"next: harness test --study {study.name}{here}", err=True)
    typer.echo(f"      harness ui{here}", err=True)
    typer.echo(f"      harness run --space {SPACE} --data FOLDER --trials 20", err=True)
