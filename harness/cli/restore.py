"""Command `harness restore`: a study from its archive."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import api
from harness.cli.completion import complete_archive
from harness.cli.options import StorageOption, TrackingUriOption, WorkspaceOption


def restore(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Archive of harness archive.", autocompletion=complete_archive
        ),
    ],
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Another name. Example: --as encoders-old"),
    ] = None,
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Unpack the archive of a study, check every hash, and enter it in Optuna and MLflow.

    Example: harness restore encoders.harness.tar --as encoders-old
    """
    paths = api.restore(
        file, name=as_, storage=storage, tracking_uri=tracking_uri, workspace=workspace
    )
    sys.stdout.write(f"study {paths.name} is restored in {paths.root}\n")
