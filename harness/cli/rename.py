"""Command `harness rename`: another name for a study, in its folder, Optuna and MLflow."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import api
from harness.cli.completion import complete_study
from harness.cli.options import StorageOption, TrackingUriOption, WorkspaceOption


def rename(
    old: Annotated[
        str,
        typer.Argument(metavar="OLD", help="Present name.", autocompletion=complete_study),
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Next name.")],
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Rename a study in its folder, in Optuna and in MLflow.

    Example: harness rename encoders encoders-256px
    """
    paths = api.rename(old, new, storage=storage, tracking_uri=tracking_uri, workspace=workspace)
    sys.stdout.write(f"study {old} is now {new}, in {paths.root}\n")
    if paths.report_html.exists():
        command = f"harness report --study {shlex.quote(new)}"
        sys.stdout.write(f"its report names it {old}; write it again with: {command}\n")
