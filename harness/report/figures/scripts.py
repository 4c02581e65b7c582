"""What scripts of `analysis/` share: options, a sentence on standard output, a figure's page."""

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
    """What a script found: the answer as its first line, details below, and a figure if any."""

    lines: Sequence[str]
    figure: go.Figure | None


def run_analysis(
    name: str,
    question: str | None,
    analyse: Callable[..., AnalysisResult],
    arguments: Sequence[str] | None,
    **options: Mapping[str, Any],
) -> int:
    """Parse a script's words, print what `analyse` answers, and write its figure.

    Args:
        name: of the script; its figure goes to `<name>.html` unless `--out` says otherwise.
        question: the script's docstring: the question, and an example.
        analyse: called with the study's tables, and its options by name.
        arguments: of the command line; None: those of this process.
        options: further options of the script, as argparse's `add_argument` takes them.

    Returns:
        The exit code: 0 answered, 1 there is no answer in this study, 2 something must be changed.
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
    sys.stdout.write("".join(f"{line}\n" for line in result.lines))
    if result.figure is None:
        return 1
    title = (question or name).splitlines()[0]
    files.write_text(out, figure_page(title, result.lines, result.figure))
    sys.stderr.write(f"figure: {out}\n")
    return 0
