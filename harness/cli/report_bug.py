"""Command `harness report-bug`: print what a maintainer needs to understand a problem."""

import sys
from pathlib import Path
from typing import Annotated

from rich.console import Console

from harness.cli.completion import complete_study
from harness.cli.options import SEARCH, STORAGE, WorkspaceOption, option
from harness.core import files
from harness.core.paths import Workspace, expand_user_path
from harness.report.bug_report import bug_report


def report_bug(
    study: Annotated[
        str | None,
        option(
            "Study whose definition and failures are included.",
            example="--study encoders",
            panel=SEARCH,
            default="versions and machine only",
            metavar="NAME",
            autocompletion=complete_study,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        option(
            "Also write the text to this file.",
            example="--output bug.txt",
            panel=STORAGE,
            default="standard output only",
            metavar="FILE",
        ),
    ] = None,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Print versions, machine, definition and failures of a study for a bug report, masked.

    Passwords, tokens, values of environment variables, your name and home folder, and names of
    images are replaced. Read the text before you publish it.

    Example: harness report-bug --study encoders --output bug.txt
    """
    workspace_paths = Workspace.at(workspace)
    text = bug_report(workspace_paths, None if study is None else workspace_paths.study(study))
    sys.stdout.write(text)
    if output is not None:
        path = expand_user_path(output)
        files.write_text(path, text)
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"written: {path}", markup=False
        )
