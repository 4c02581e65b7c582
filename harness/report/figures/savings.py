"""What the pruner saved, and the best value so far against device time."""

from collections.abc import Collection, Sequence

import plotly.graph_objects as go

from harness.report.figures.chart import Chart, Section, section
from harness.report.figures.history import corners
from harness.report.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    Objective,
    empty_figure,
    finite,
    hover,
)
from harness.report.savings import Savings, Spent, last_trials, savings, spending
from harness.report.shown import Shown
from harness.report.tables import StudyTables
from harness.report.wording import count, duration, plural

PARTS = {"complete": BLUE, "pruned": ORANGE, "failed": PURPLE, "running": SKY}
UNITS = (("h", 3600.0), ("min", 60.0), ("s", 1.0))


def effort_section(tables: StudyTables, objective: Objective, shown: Shown) -> Section:
    """What the device time went into."""
    found, rows = savings(tables), spending(tables)
    charts = []
    if found is not None and found.n_pruned:
        charts.append(Chart(found.sentence, draw_savings(found)))
    if any(row.best is not None for row in rows):
        label = f"Best {objective.metric} so far against device time, {count(len(rows), 'trial')}"
        charts.append(Chart(label, draw_spending(rows, objective, shown.numbers)))
    words = "" if found is None else f"{found.sentence} {last_trials(rows)} "
    return section(
        "effort",
        "Effort",
        words + "Device time is that of the recorded epochs, training and validation, summed over "
        "all devices. Epochs spared count at the median seconds of their trial's own epochs. "
        + shown.note,
        charts,
        "No complete or pruned trial has recorded the seconds of its epochs.",
    )


def draw_savings(found: Savings) -> go.Figure:
    """Two bars, epochs and time, each in parts: trained by state, and spared."""
    figure = empty_figure("share of all planned (%)", "effort in", height=190)
    totals = (
        sum(found.epochs.values()) + found.epochs_saved,
        sum(found.seconds.values()) + found.seconds_saved,
    )
    parts = [
        (f"trained, {state}", colour, found.epochs[state], found.seconds[state])
        for state, colour in PARTS.items()
        if state in found.epochs
    ]
    parts.append(("spared by pruning", GREY, found.epochs_saved, found.seconds_saved))
    for name, colour, epochs, seconds in parts:
        shares = [100 * v / t if t else 0.0 for v, t in zip((epochs, seconds), totals, strict=True)]
        pattern = {"shape": "/"} if name.startswith("spared") else {}
        figure.add_bar(
            x=shares,
            y=["epochs", "time"],
            orientation="h",
            name=name,
            marker={"color": colour, "pattern": pattern},
            text=[str(epochs), duration(seconds)],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            hovertext=[
                f"{name}<br>{epochs} {plural('epoch', epochs)}",
                f"{name}<br>{duration(seconds)}",
            ],
            hoverinfo="text",
        )
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    figure.update_layout(uniformtext={"minsize": 10, "mode": "hide"})
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(autorange="reversed")
    return figure


def draw_spending(rows: Sequence[Spent], objective: Objective, shown: Collection[int]) -> go.Figure:
    """Each shown trial where it ended on the clock of all devices, and the best so far of all."""
    unit, size = next(((u, s) for u, s in UNITS if rows[-1].total >= s), UNITS[-1])
    figure = empty_figure(f"device time, summed over trials ({unit})", objective.title)
    best = corners([row for row in rows if row.best is not None])
    figure.add_scatter(
        x=[row.total / size for row in best],
        y=[row.best for row in best],
        mode="lines",
        line={"shape": "hv", "color": ORANGE, "width": 2.5},
        name="best so far",
        hoverinfo="skip",
    )
    looks = {"complete": (BLUE, "circle"), "pruned": (GREY, "x"), "failed": (GREEN, "diamond-open")}
    for state, (colour, symbol) in looks.items():
        some = [r for r in rows if r.state == state and finite(r.value) and r.number in shown]
        if some:
            figure.add_scatter(
                x=[row.total / size for row in some],
                y=[row.value for row in some],
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 7},
                name=state,
                hovertext=[
                    f"{hover(row.number, objective, row.value or 0.0, state)}"
                    f"<br>{duration(row.seconds)} of its own"
                    for row in some
                ],
                hoverinfo="text",
            )
    figure.update_xaxes(rangemode="tozero")
    return figure
