"""Estimate the share of a search's variance that is due to seeds, from its confirmation.

Example: python analysis/seed_noise.py --study encoders
"""

import argparse
import math
import sys
from pathlib import Path

from harness.core.errors import UserError
from harness.core.paths import Workspace, expand_user_path
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.results import Confirmation
from harness.report.figures.confirmation import confirmed_rows, draw_confirmation
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.study_tables import StudyTables, leaderboard, load_study_tables


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--workspace", type=Path, default=Path(), help="folder with studies/")
    parser.add_argument("--out", type=Path, default=Path("seed_noise.html"), help="the figure")
    options = parser.parse_args(words)
    try:
        tables = load_study_tables(Workspace.at(options.workspace).study(options.study))
        confirmation = load_confirmation(tables.paths)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(sentence(tables, confirmation))
    rows = [] if confirmation is None else confirmed_rows(confirmation)
    if confirmation is not None and rows:
        settings = tables.config.objective
        objective = ObjectiveLabel(settings.metric, tables.minimized, settings.is_builtin)
        figure = draw_confirmation(rows, confirmation.kind, objective)
        out = expand_user_path(options.out)
        figure.write_html(out, include_plotlyjs=True)
        print(f"figure: {out}")
    return 0


def sentence(tables: StudyTables, confirmation: Confirmation | None) -> str:
    name = tables.paths.name
    if confirmation is None:
        return f"Study {name} has no confirmation; run harness confirm --study {name} first."
    deviation, freedom = pooled(confirmation)
    if deviation is None:
        return f"No configuration of {name} has two complete {confirmation.kind}s yet."
    metric, n = tables.config.objective.metric, len(confirmation.rows)
    start = (
        f"{metric} differs by ±{deviation:.4f} between {confirmation.kind}s of one configuration "
        f"(pooled over {n}; {freedom} degrees of freedom)"
    )
    values = leaderboard(tables)["value"]
    if len(values) < 2 or not values.var() > 0:
        return f"{start}; the search has no spread to compare it with."
    share = min(1.0, deviation**2 / float(values.var()))
    return (
        f"{start}, which is {share:.0%} of the variance over the {len(values)} complete trials of "
        "the search; the rest can be due to their configurations."
    )


def pooled(confirmation: Confirmation) -> tuple[float | None, int]:
    """Pooled standard deviation within configurations, and its degrees of freedom."""
    repeated = [row for row in confirmation.rows if row.deviation is not None]
    freedom = sum(len(row.values) - 1 for row in repeated)
    squares = math.fsum((len(r.values) - 1) * (r.deviation or 0.0) ** 2 for r in repeated)
    return (math.sqrt(squares / freedom), freedom) if freedom else (None, 0)


if __name__ == "__main__":
    raise SystemExit(main())
