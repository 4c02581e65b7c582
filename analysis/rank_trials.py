"""Print the leading trials of a study and their lead.

Example: python analysis/rank_trials.py --study encoders --top 10
"""

import argparse
import math
import sys
from pathlib import Path

from harness.core.errors import UserError
from harness.core.paths import Workspace
from harness.core.text import display_value
from harness.report.tables.study_tables import (
    StudyTables,
    leaderboard,
    load_study_tables,
    trials_in_state,
)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--workspace", type=Path, default=Path(), help="folder with studies/")
    parser.add_argument("--top", type=int, default=10, help="rows to print")
    options = parser.parse_args(words)
    try:
        tables = load_study_tables(Workspace.at(options.workspace).study(options.study))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(sentence(tables))
    columns = ["rank", "number", "value", *tables.parameters]
    top = leaderboard(tables)[columns].head(options.top)
    if not top.empty:
        print(top.map(shown).to_string(index=False))
    return 0


def shown(value: object) -> str:
    return "–" if isinstance(value, float) and math.isnan(value) else display_value(value)


def sentence(tables: StudyTables) -> str:
    ranked = leaderboard(tables)
    apart = (
        f"{len(trials_in_state(tables, 'pruned'))} pruned, "
        f"{len(trials_in_state(tables, 'failed'))} "
        "failed"
    )
    metric = tables.config.objective.metric
    if ranked.empty:
        return f"No trial of {tables.paths.name} is complete ({apart})."
    first = ranked.iloc[0]
    start = f"Trial {first['number']} leads with {metric} {first['value']:.4f}"
    if len(ranked) == 1:
        return f"{start}, the only complete trial ({apart})."
    second = ranked.iloc[1]
    gap = abs(second["value"] - first["value"])
    return (
        f"{start}, {gap:.4f} ahead of trial {second['number']}, of {len(ranked)} complete trials "
        f"({apart}); leading, not confirmed."
    )


if __name__ == "__main__":
    raise SystemExit(main())
