"""Figures of the objective against each recorded cost, e.g. weights, time and memory."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from harness.config.measurements import COSTS
from harness.core.records import TrialRecord
from harness.core.text import display_value
from harness.report.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    ObjectiveLabel,
    empty_figure,
    hover_text,
    is_finite_number,
)
from harness.report.tables.study_tables import StudyTables, ranked_records

GROUP_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, "#8d7cc3", "#8a8a8a")
GROUP_SYMBOLS = {  # plotly's name: the character of a legend
    "circle": "●",
    "square": "■",
    "diamond": "◆",
    "triangle-up": "▲",
    "star": "★",
    "triangle-down": "▼",
    "cross": "✚",
}
MAX_LABELS = 8  # trials of a Pareto front that are labelled; more labels would overlap


@dataclass(frozen=True)
class CostRow:
    """Cost and objective of a complete trial.

    Attributes:
        group: its architecture, or its encoder if the architecture does not vary; "" otherwise.
    """

    number: int
    cost: float
    value: float
    group: str


def cost_rows(tables: StudyTables) -> dict[str, list[CostRow]]:
    """Complete trials, best first, for each cost that at least one of them has recorded."""
    complete = ranked_records(tables)
    groups = _group_names(complete)
    rows_by_cost: dict[str, list[CostRow]] = {}
    for cost in COSTS:
        rows = [
            CostRow(record.number, record.costs[cost], record.value, group)
            for record, group in zip(complete, groups, strict=True)
            if record.value is not None and is_finite_number(record.costs.get(cost))
        ]
        if rows:
            rows_by_cost[cost] = rows
    return rows_by_cost


def pareto_front(rows: Sequence[CostRow], *, minimized: bool) -> list[CostRow]:
    """Trials that no other trial improves in cost or objective without loss in the other one.

    Trials with equal cost and value are all on the front or none of them is. Cheapest first.
    """
    sign = 1.0 if minimized else -1.0
    front_rows: list[CostRow] = []
    for row in sorted(rows, key=lambda row: (row.cost, sign * row.value, row.number)):
        last = front_rows[-1] if front_rows else None
        equal = last is not None and (row.cost, row.value) == (last.cost, last.value)
        if last is None or equal or sign * row.value < sign * last.value:
            front_rows.append(row)
    return front_rows


def labelled(front_rows: Sequence[CostRow]) -> list[CostRow]:
    """Trials of a front that get a label: all, or MAX_LABELS evenly from cheapest to best."""
    n = len(front_rows)
    if n <= MAX_LABELS:
        return list(front_rows)
    return [front_rows[i * (n - 1) // (MAX_LABELS - 1)] for i in range(MAX_LABELS)]


def _group_names(records: Sequence[TrialRecord]) -> list[str]:
    """Architecture of each trial if it varies, otherwise encoder if it varies, otherwise ""."""
    for key in ("model.arch", "model.encoder_name"):
        names = [display_value(r.params[key]) if key in r.params else "" for r in records]
        if len(set(names)) > 1:
            return names
    return [""] * len(records)


def cost_groups(rows: dict[str, list[CostRow]]) -> list[str]:
    """Distinct groups in order of name; [] if there is only one."""
    names = sorted({row.group for trial_rows in rows.values() for row in trial_rows})
    return names if len(names) > 1 else []


def style_of(group: str, groups: Sequence[str]) -> tuple[str, str]:
    """Colour and symbol of a group, the same in every figure.

    There are eight colours and seven symbols, so the pairs repeat only after 56 groups.
    """
    index = groups.index(group) if group in groups else 0
    return GROUP_COLOURS[index % len(GROUP_COLOURS)], list(GROUP_SYMBOLS)[
        index % len(GROUP_SYMBOLS)
    ]


def draw_cost(
    rows: Sequence[CostRow],
    cost: str,
    groups: Sequence[str],
    objective: ObjectiveLabel,
    visible_numbers: Collection[int] | None = None,
) -> go.Figure:
    """Draw one point per trial, styled by architecture or encoder, and the labelled Pareto front.

    Args:
        visible_numbers: numbers of the trials that are drawn in addition to the front; None: all.
    """
    name, unit = COSTS[cost].axis_title, COSTS[cost].unit
    title = f"{name}<br>({unit}, lower is cheaper)"
    figure = empty_figure(title, objective.title, height=330)
    front_rows = pareto_front(rows, minimized=objective.minimized)
    _add_front(figure, front_rows)
    if visible_numbers is not None:
        drawn_numbers = {row.number for row in front_rows}.union(visible_numbers)
        rows = [row for row in rows if row.number in drawn_numbers]
    # cliponaxis=False: a point on the axis, e.g. of the best value 0, is not cut in half.
    styles = [style_of(row.group, groups) for row in rows]
    figure.add_scatter(
        x=[row.cost for row in rows],
        y=[row.value for row in rows],
        mode="markers",
        marker={"color": [c for c, _ in styles], "symbol": [s for _, s in styles], "size": 9},
        cliponaxis=False,
        customdata=[row.number for row in rows],
        hovertext=[_hover_text(row, f"{name} {row.cost:,.5g} {unit}", objective) for row in rows],
        hoverinfo="text",
    )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(rangemode="tozero")  # ratios of costs are read from lengths
    return figure


def _add_front(figure: go.Figure, front_rows: Sequence[CostRow]) -> None:
    """Draw the front as steps: a cost between two of its trials buys the cheaper one's value."""
    figure.add_scatter(
        x=[row.cost for row in front_rows],
        y=[row.value for row in front_rows],
        mode="lines+text",
        line={"shape": "hv", "color": GREY, "width": 1.5, "dash": "dot"},
        text=[f"#{row.number}" if row in labelled(front_rows) else "" for row in front_rows],
        textposition="top right",
        textfont={"size": 11},
        cliponaxis=False,
        name="Pareto front",
        hoverinfo="skip",
    )


def _hover_text(row: CostRow, cost_text: str, objective: ObjectiveLabel) -> str:
    return f"{hover_text(row.number, objective, row.value, row.group or 'complete')}<br>{cost_text}"
