"""Command `harness delete`: a study with all that Optuna and MLflow hold of it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import api
from harness.cli.completion import StudyArgument
from harness.cli.confirmation import ask
from harness.cli.options import StorageOption, TrackingUriOption, WorkspaceOption


def delete(
    study: StudyArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Delete a study: show what goes, ask, then remove folder, Optuna's studies and MLflow's runs.

    Example: harness delete first-try
    """
    lines = api.describe_deletion(
        study, storage=storage, tracking_uri=tracking_uri, workspace=workspace
    )
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    if lines:
        ask(f"Delete study {study}?", yes=yes)
    api.delete(study, storage=storage, tracking_uri=tracking_uri, workspace=workspace)
    sys.stdout.write(f"study {study} is deleted\n")
