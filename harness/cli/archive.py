"""Command `harness archive`: a study as one file."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import api
from harness.cli.completion import StudyArgument
from harness.cli.options import WorkspaceOption
from harness.core.text import format_bytes


def archive(
    study: StudyArgument,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The archive. Default: STUDY.harness.tar"),
    ] = None,
    without_weights: Annotated[
        bool, typer.Option("--without-weights", help="Leave out models and checkpoints.")
    ] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Write a study into one file, with a hash of each of its files.

    Example: harness archive encoders encoders.harness.tar --without-weights
    """
    path = api.archive(study, file, weights=not without_weights, workspace=workspace)
    sys.stdout.write(f"study {study} is in {path} ({format_bytes(path.stat().st_size)})\n")
    # A name that begins with a hyphen would be read as an option.
    argument = f"./{path}" if str(path).startswith("-") else str(path)
    sys.stdout.write(f"restore it with: harness restore {shlex.quote(argument)}\n")
