"""What scripts of `analysis/` share: options, a sentence on standard output, a figure's page."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from harness import files
from harness.errors import UserError
from harness.paths import Workspace, user_path
from harness.report.figures.alone import figure_page
from harness.report.tables import load_study


@dataclass(frozen=True)
class Answer:
    """What a script found: the answer as its first line, details below, and a figure if any."""

    lines: Sequence[str]
    figure: go.Figure | None


def answer(
    name: str,
    question: str | None,
    find: Callable[..., Answer],
    words: Sequence[str] | None,
    **options: Mapping[str, Any],
) -> int:
    """Parse a script's words, print what `find` answers, and write its figure.

    Args:
        name: of the script; its figure goes to `<name>.html` unless `--out` says otherwise.
        question: the script's docstring: the question, and an example.
        find: called with the study's tables, and its options by name.
        words: of the command line; None: those of this process.
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
    given = vars(parser.parse_args(words))
    study, workspace, out = (given.pop(key) for key in ("study", "workspace", "out"))
    try:
        out = user_path(out)
        tables = load_study(Workspace.at(workspace).study(study))
        found = find(tables, **given)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in found.lines))
    if found.figure is None:
        return 1
    title = (question or name).splitlines()[0]
    files.write_text(out, figure_page(title, found.lines, found.figure))
    sys.stderr.write(f"figure: {out}\n")
    return 0
