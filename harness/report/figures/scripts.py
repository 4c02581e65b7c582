"""Command line of the scripts in `analysis/`: options, text on standard output, figure page."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from harness.core import files
from harness.core.errors import UserError
from harness.core.paths import Workspace, expand_user_path
from harness.report.figures.standalone import figure_page
from harness.report.tables.study_tables import load_study_tables


@dataclass(frozen=True)
class AnalysisResult:
    """Result of a script: the answer as first line, then details; None if there is no figure."""

    lines: Sequence[str]
    figure: go.Figure | None


def run_analysis(
    name: str,
    question: str | None,
    analyse: Callable[..., AnalysisResult],
    arguments: Sequence[str] | None,
    **options: Mapping[str, Any],
) -> int:
    """Parse the arguments of a script, print its result and write its figure.

    Args:
        name: name of the script; its figure is written to `<name>.html` or to `--out`.
        question: docstring of the script: the question and an example.
        analyse: called with the tables of the study and the script's options by name.
        arguments: command line; None for that of this process.
        options: further options of the script, as keyword arguments of argparse's `add_argument`.

    Returns:
        Exit code: 0 with an answer, 1 if the study has no answer, 2 if the user must change
        something.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=question, formatter_class=raw)
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--workspace", type=Path, default=Path(), help="folder with studies/")
    parser.add_argument("--out", type=Path, default=Path(f"{name}.html"), help="page to write")
    for option, settings in options.items():
        parser.add_argument(f"--{option}", **settings)
    parsed_options = vars(parser.parse_args(arguments))
    study, workspace, out = (parsed_options.pop(key) for key in ("study", "workspace", "out"))
    try:
        out = expand_user_path(out)
        tables = load_study_tables(Workspace.at(workspace).study(study))
        result = analyse(tables, **parsed_options)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    # The answer goes to standard output and the rest to standard error, so that it can be piped.
    sys.stdout.write("".join(f"{line}\n" for line in result.lines))
    if result.figure is None:
        return 1
    title = (question or name).splitlines()[0]
    files.write_text(out, figure_page(title, result.lines, result.figure))
    sys.stderr.write(f"figure: {out}\n")
    return 0
