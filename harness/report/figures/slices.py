"""Slices: the objective against one parameter at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from harness.records import TrialRecord
from harness.report.figures.axes import Axis, log_ticks, parameter_axis
from harness.report.figures.style import (
    GREY,
    Objective,
    empty_figure,
    finite,
    hover,
    safe,
)
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import short, text_of


@dataclass(frozen=True)
class Point:
    """One trial: the parameter's value and the objective's."""

    number: int
    x: str | int | float | bool | None
    y: float


@dataclass(frozen=True)
class Slice:
    """All trials in which one parameter was in force."""

    axis: Axis
    complete: tuple[Point, ...]
    pruned: tuple[Point, ...]


def slice_rows(tables: StudyTables) -> list[Slice]:
    """One slice for each parameter that was in force in any complete trial."""
    complete = ranked_records(tables)
    pruned = [r for r in tables.records if r.state == "pruned" and finite(r.value)]
    slices = []
    for key in tables.parameters:
        axis = parameter_axis(key, [*complete, *pruned])
        points = _points(key, complete)
        if axis and points:
            slices.append(Slice(axis, points, _points(key, pruned)))
    return slices


def _points(key: str, records: Sequence[TrialRecord]) -> tuple[Point, ...]:
    return tuple(
        Point(record.number, record.params[key], record.value)
        for record in sorted(records, key=lambda record: record.number)
        if key in record.params and record.value is not None
    )


def draw_slice(piece: Slice, objective: Objective) -> go.Figure:
    """Complete trials, later ones darker; pruned ones as crosses at what they had reached."""
    figure = empty_figure(safe(piece.axis.key), objective.title, height=300)
    newest = max(point.number for point in piece.complete)
    dots = {
        "size": 9,
        "color": [point.number for point in piece.complete],
        "colorscale": [[0, "#9ecdf2"], [1, "#1c5f9c"]],
        "cmin": 0,
        "cmax": max(newest, 1),
        "line": {"width": 0.8, "color": GREY},
    }
    _add(figure, "pruned", piece.pruned, piece.axis, objective, {"symbol": "x", "color": GREY})
    _add(figure, "complete", piece.complete, piece.axis, objective, dots)
    if piece.axis.scale == "choice":
        n = len(piece.axis.choices)
        labels = [safe(short(choice)) for choice in piece.axis.choices]
        crowded = sum(len(label) for label in labels) > 30
        ticks = {"tickvals": list(range(n)), "ticktext": labels, "range": [-0.5, n - 0.5]}
        figure.update_xaxes(tickangle=-35 if crowded else 0, **ticks)
    elif piece.axis.scale == "log":
        figure.update_xaxes(**log_ticks(piece.axis))
    elif (
        all(isinstance(p.x, int) for p in piece.complete) and piece.axis.high - piece.axis.low <= 10
    ):
        figure.update_xaxes(dtick=1)
    figure.update_layout(showlegend=False)
    return figure


def _add(
    figure: go.Figure,
    name: str,
    points: Sequence[Point],
    axis: Axis,
    objective: Objective,
    marker: dict[str, Any],
) -> None:
    chosen = axis.scale == "choice"
    figure.add_scatter(
        x=[axis.choices.index(text_of(point.x)) if chosen else point.x for point in points],
        y=[point.y for point in points],
        mode="markers",
        marker=marker,
        name=name,
        hovertext=[
            f"{hover(p.number, objective, p.y, name)}<br>{safe(axis.key)} {safe(text_of(p.x))}"
            for p in points
        ],
        hoverinfo="text",
    )
