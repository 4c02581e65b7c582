"""Figures of slices: the objective against one parameter at a time."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from harness.core.records import TrialRecord
from harness.core.text import count, display_value, format_range, truncate
from harness.report.figures.axes import ParameterAxis, log_ticks, parameter_axis
from harness.report.figures.style import (
    GREY,
    ObjectiveLabel,
    empty_figure,
    escape_markup,
    hover_text,
    is_finite_number,
)
from harness.report.tables.study_tables import StudyTables, ranked_records


@dataclass(frozen=True)
class SlicePoint:
    """Value of the parameter and of the objective in one trial."""

    number: int
    x: str | int | float | bool | None
    y: float


@dataclass(frozen=True)
class ParameterSlice:
    """All trials in which one parameter was active."""

    axis: ParameterAxis
    complete: tuple[SlicePoint, ...]
    pruned: tuple[SlicePoint, ...]


def parameter_slices(tables: StudyTables) -> list[ParameterSlice]:
    """Build a slice per parameter that was active in at least one complete trial."""
    complete = ranked_records(tables)
    pruned = [r for r in tables.records if r.state == "pruned" and is_finite_number(r.value)]
    slices = []
    for key in tables.parameters:
        axis = parameter_axis(key, [*complete, *pruned])
        points = _slice_points(key, complete)
        if axis and points:
            slices.append(ParameterSlice(axis, points, _slice_points(key, pruned)))
    return slices


def _slice_points(key: str, records: Sequence[TrialRecord]) -> tuple[SlicePoint, ...]:
    return tuple(
        SlicePoint(record.number, record.params[key], record.value)
        for record in sorted(records, key=lambda record: record.number)
        if key in record.params and record.value is not None
    )


def slice_sentence(parameter_slice: ParameterSlice, objective: ObjectiveLabel) -> str:
    """The choice with the best median, or the range of the best trials."""
    sign = 1 if objective.minimized else -1
    axis = parameter_slice.axis
    best = sorted(parameter_slice.complete, key=lambda point: (sign * point.y, point.number))
    if axis.scale != "choice":
        n_best = min(max(2, round(len(best) / 4)), len(best))
        values = format_range(point.x for point in best[:n_best])
        return (
            f"The best {n_best} of {count(len(best), 'complete trial')} have {axis.key} {values}."
        )
    groups: dict[str, list[float]] = {}
    for point in best:
        groups.setdefault(display_value(point.x), []).append(point.y)
    medians = {name: statistics.median(values) for name, values in groups.items()}
    name = min(medians, key=lambda group: sign * medians[group])
    n = count(len(groups[name]), "complete trial")
    if len(groups) == 1:
        return f"All complete trials have {axis.key} {name}."
    return f"{axis.key} {name} has the best median {objective.metric}, {medians[name]:.4f} of {n}."


def draw_slice(parameter_slice: ParameterSlice, objective: ObjectiveLabel) -> go.Figure:
    """Draw complete trials, later ones darker, and pruned ones as crosses at their best value."""
    figure = empty_figure(escape_markup(parameter_slice.axis.key), objective.title, height=300)
    newest = max(point.number for point in parameter_slice.complete)
    dots = {
        "size": 9,
        "color": [point.number for point in parameter_slice.complete],
        "colorscale": [[0, "#9ecdf2"], [1, "#1c5f9c"]],
        "cmin": 0,
        "cmax": max(newest, 1),
        "line": {"width": 0.8, "color": GREY},
    }
    _add_points(
        figure,
        "pruned",
        parameter_slice.pruned,
        parameter_slice.axis,
        objective,
        {"symbol": "x", "color": GREY},
    )
    _add_points(figure, "complete", parameter_slice.complete, parameter_slice.axis, objective, dots)
    if parameter_slice.axis.scale == "choice":
        n = len(parameter_slice.axis.choices)
        labels = [escape_markup(truncate(choice)) for choice in parameter_slice.axis.choices]
        is_crowded = sum(len(label) for label in labels) > 30  # characters across a small figure
        ticks = {"tickvals": list(range(n)), "ticktext": labels, "range": [-0.5, n - 0.5]}
        figure.update_xaxes(tickangle=-35 if is_crowded else 0, **ticks)
    elif parameter_slice.axis.scale == "log":
        figure.update_xaxes(**log_ticks(parameter_slice.axis))
    elif (
        all(isinstance(p.x, int) for p in parameter_slice.complete)
        and parameter_slice.axis.high - parameter_slice.axis.low <= 10
    ):
        figure.update_xaxes(dtick=1)  # Plotly would label halves of an integer
    figure.update_layout(showlegend=False)
    return figure


def _add_points(
    figure: go.Figure,
    name: str,
    points: Sequence[SlicePoint],
    axis: ParameterAxis,
    objective: ObjectiveLabel,
    marker: dict[str, Any],
) -> None:
    is_choice = axis.scale == "choice"
    figure.add_scatter(
        x=[axis.choices.index(display_value(p.x)) if is_choice else p.x for p in points],
        y=[p.y for p in points],
        mode="markers",
        marker=marker,
        name=name,
        customdata=[p.number for p in points],
        hovertext=[hover_text(p.number, objective, p.y, name) for p in points],
        hoverinfo="text",
    )
