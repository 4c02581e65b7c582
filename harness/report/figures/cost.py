"""What quality costs: the objective against weights, time and memory."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from harness.records import TrialRecord
from harness.report.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    Objective,
    empty_figure,
    finite,
    hover,
    safe,
)
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import short, text_of

COSTS = {  # what is recorded: (its name, its unit)
    "cost/parameters": ("parameters", "weights"),
    "cost/gflops": ("work per image", "GFLOP"),
    "cost/seconds": ("training time", "s"),
    "cost/peak_mb": ("peak memory", "MB"),
    "cost/ms_per_image": ("time per image", "ms"),
}
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, "#8d7cc3", "#8a8a8a")
SYMBOLS = {  # plotly's name: the character of a legend
    "circle": "●",
    "square": "■",
    "diamond": "◆",
    "triangle-up": "▲",
    "star": "★",
    "triangle-down": "▼",
    "cross": "✚",
}


NAMED = 8  # trials of a front that can be named without their names running into each other


@dataclass(frozen=True)
class CostRow:
    """A complete trial's cost and objective; `group` is its architecture, or its encoder.

    `settings` are its searched parameters in words.
    """

    number: int
    cost: float
    value: float
    group: str
    settings: tuple[str, ...] = ()


def cost_rows(tables: StudyTables) -> dict[str, list[CostRow]]:
    """The complete trials, best first, for each cost that was recorded."""
    complete = ranked_records(tables)
    groups = _groups(complete)
    found: dict[str, list[CostRow]] = {}
    for cost in COSTS:
        rows = [
            CostRow(record.number, record.costs[cost], record.value, group, _settings(record))
            for record, group in zip(complete, groups, strict=True)
            if record.value is not None and finite(record.costs.get(cost))
        ]
        if rows:
            found[cost] = rows
    return found


def front(rows: Sequence[CostRow], *, minimized: bool) -> list[CostRow]:
    """The Pareto front: those that no other trial betters in one without losing in the other.

    Of trials with equal cost and value all are on it or none. Cheapest first.
    """
    sign = 1.0 if minimized else -1.0
    kept: list[CostRow] = []
    for row in sorted(rows, key=lambda row: (row.cost, sign * row.value, row.number)):
        last = kept[-1] if kept else None
        equal = last is not None and (row.cost, row.value) == (last.cost, last.value)
        if last is None or equal or sign * row.value < sign * last.value:
            kept.append(row)
    return kept


def named(best: Sequence[CostRow]) -> list[CostRow]:
    """The trials of a front that are named: all, or NAMED of them from its cheapest to its best."""
    n = len(best)
    if n <= NAMED:
        return list(best)
    return [best[i * (n - 1) // (NAMED - 1)] for i in range(NAMED)]


def _settings(record: TrialRecord) -> tuple[str, ...]:
    return tuple(f"{key} {text_of(value)}" for key, value in record.params.items())


def _groups(records: Sequence[TrialRecord]) -> list[str]:
    """The architecture of each trial where it varies, else the encoder, else nothing."""
    for key in ("model.arch", "model.encoder_name"):
        names = [text_of(r.params[key]) if key in r.params else "" for r in records]
        if len(set(names)) > 1:
            return names
    return [""] * len(records)


def groups_of(rows: dict[str, list[CostRow]]) -> list[str]:
    """Every group once, in order of name; [] where there is only one."""
    names = sorted({row.group for some in rows.values() for row in some})
    return names if len(names) > 1 else []


def look_of(group: str, groups: Sequence[str]) -> tuple[str, str]:
    """(colour, symbol) of a group: the same in every cost figure."""
    place = groups.index(group) if group in groups else 0
    return COLOURS[place % len(COLOURS)], list(SYMBOLS)[place % len(SYMBOLS)]


def draw_cost(
    rows: Sequence[CostRow],
    cost: str,
    groups: Sequence[str],
    objective: Objective,
    shown: Collection[int] | None = None,
) -> go.Figure:
    """One point per trial, a look for each architecture or encoder; the Pareto front is named.

    Args:
        shown: numbers of the trials that are drawn beside the front; None: all.
    """
    name, unit = COSTS[cost]
    title = f"{name}<br>({unit}, lower is cheaper)"
    figure = empty_figure(title, objective.title, height=330)
    best = front(rows, minimized=objective.minimized)
    _add_front(figure, best)
    if shown is not None:
        kept = {row.number for row in best}.union(shown)
        rows = [row for row in rows if row.number in kept]
    looks = [look_of(row.group, groups) for row in rows]
    figure.add_scatter(
        x=[row.cost for row in rows],
        y=[row.value for row in rows],
        mode="markers",
        marker={"color": [c for c, _ in looks], "symbol": [s for _, s in looks], "size": 9},
        cliponaxis=False,
        hovertext=[_hover(row, f"{name} {row.cost:,.5g} {unit}", objective) for row in rows],
        hoverinfo="text",
    )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(rangemode="tozero")
    return figure


def _add_front(figure: go.Figure, best: Sequence[CostRow]) -> None:
    """The front as steps, as between two of its trials the better one costs as much as it does."""
    figure.add_scatter(
        x=[row.cost for row in best],
        y=[row.value for row in best],
        mode="lines+text",
        line={"shape": "hv", "color": GREY, "width": 1.5, "dash": "dot"},
        text=[f"#{row.number}" if row in named(best) else "" for row in best],
        textposition="top right",
        textfont={"size": 11},
        cliponaxis=False,
        name="Pareto front",
        hoverinfo="skip",
    )


def _hover(row: CostRow, price: str, objective: Objective) -> str:
    lines = [hover(row.number, objective, row.value, row.group or "complete"), price]
    return "<br>".join([*lines, *(safe(short(line, 60)) for line in row.settings)])
