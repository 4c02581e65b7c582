"""What quality costs: the objective against weights, time and memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from harness.records import TrialRecord
from harness.report.figures.style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    Objective,
    empty_figure,
    finite,
    hover,
    safe,
    short,
    text_of,
)
from harness.report.tables import StudyTables, ranked_records

COSTS = {  # what is recorded: (its name, its unit)
    "cost/parameters": ("parameters", "weights"),
    "cost/gflops": ("work per image", "GFLOP"),
    "cost/seconds": ("training time", "s"),
    "cost/peak_mb": ("peak memory", "MB"),
    "cost/ms_per_image": ("time per image", "ms"),
}
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, "#8d7cc3", "#8a8a8a")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "hexagon", "pentagon")


@dataclass(frozen=True)
class CostRow:
    """A complete trial's cost and objective; `group` is its architecture, or its encoder."""

    number: int
    cost: float
    value: float
    group: str


def cost_rows(tables: StudyTables) -> dict[str, list[CostRow]]:
    """The complete trials, best first, for each cost that was recorded."""
    complete = ranked_records(tables)
    groups = _groups(complete)
    found: dict[str, list[CostRow]] = {}
    for cost in COSTS:
        rows = [
            CostRow(record.number, record.costs[cost], record.value, group)
            for record, group in zip(complete, groups, strict=True)
            if record.value is not None and finite(record.costs.get(cost))
        ]
        if rows:
            found[cost] = rows
    return found


def _groups(records: Sequence[TrialRecord]) -> list[str]:
    """The architecture of each trial where it varies, else the encoder, else nothing."""
    for key in ("model.arch", "model.encoder_name"):
        names = [text_of(r.params[key]) if key in r.params else "" for r in records]
        if len(set(names)) > 1:
            return names
    return [""] * len(records)


def draw_cost(rows: Sequence[CostRow], cost: str, objective: Objective) -> go.Figure:
    """One point per trial; a colour and a symbol for each architecture or encoder."""
    name, unit = COSTS[cost]
    figure = empty_figure(f"{name} ({unit}, lower is cheaper)", objective.title, height=330)
    groups = sorted({row.group for row in rows})
    for i, group in enumerate(groups):
        some = [row for row in rows if row.group == group]
        look = {"color": COLOURS[i % len(COLOURS)], "symbol": SYMBOLS[i % len(SYMBOLS)], "size": 9}
        figure.add_scatter(
            x=[row.cost for row in some],
            y=[row.value for row in some],
            mode="markers",
            marker=look,
            name=safe(short(group)) or "complete",
            hovertext=[
                f"{hover(row.number, objective, row.value, group or 'complete')}"
                f"<br>{name} {row.cost:,.5g} {unit}"
                for row in some
            ],
            hoverinfo="text",
        )
    figure.update_layout(showlegend=len(groups) > 1)
    figure.update_xaxes(rangemode="tozero")
    return figure
