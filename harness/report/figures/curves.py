"""Figure of the learning curves of all trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from harness.core.text import count
from harness.report.figures.style import (
    BLUE,
    GREY,
    LEADER_COLOURS,
    RED,
    SKY,
    empty_figure,
    is_finite_number,
)
from harness.report.tables.study_tables import StudyTables, ranked_records


@dataclass(frozen=True)
class LearningCurve:
    """Metric of one trial by epoch; `rank` (from 1) is None except for the leading trials."""

    number: int
    state: str
    rank: int | None
    epochs: tuple[int, ...]
    values: tuple[float, ...]


def learning_curves(tables: StudyTables, metric: str) -> list[LearningCurve]:
    """Curves of every trial that logged the metric; the leading ones last, so they are on top."""
    if metric not in tables.epochs.columns:
        return []
    leading = ranked_records(tables)[: len(LEADER_COLOURS)]
    ranks = {record.number: rank for rank, record in enumerate(leading, start=1)}
    states = {record.number: record.state for record in tables.records}
    logged = tables.epochs[tables.epochs[metric].map(is_finite_number)]
    # Epochs with NaN, e.g. of a diverging trial, are not drawn: JSON has no NaN.
    curves = []
    for key, group in logged.groupby("number", sort=True):
        number = int(str(key))
        epochs = tuple(int(epoch) for epoch in group["epoch"])
        values = tuple(float(value) for value in group[metric])
        curves.append(LearningCurve(number, states[number], ranks.get(number), epochs, values))
    return sorted(curves, key=lambda curve: (curve.rank is not None, -(curve.rank or 0)))


def curves_sentence(curves: Sequence[LearningCurve], metric: str, *, minimized: bool) -> str:
    """First, best and last value of the best trial, or the range of all without a complete one."""
    leader = next((curve for curve in curves if curve.rank == 1), None)
    if leader is None:
        finals = [curve.values[-1] for curve in curves]
        return (
            f"{metric} of {count(len(curves), 'trial')} ended between {min(finals):.4f} and "
            f"{max(finals):.4f}; none of the drawn trials is complete."
        )
    choose = min if minimized else max
    best = choose(leader.values)
    n_after = len(leader.values) - 1 - leader.values.index(best)
    text = f"{metric} of trial {leader.number} went from {leader.values[0]:.4f} to {best:.4f}"
    if not n_after:
        return f"{text}, its best, in its last epoch: longer training may improve it."
    last = "its last epoch" if n_after == 1 else f"its last {count(n_after, 'epoch')}"
    return f"{text}, its best, and did not improve in {last}."


def draw_learning_curves(curves: Sequence[LearningCurve], metric: str, title: str) -> go.Figure:
    """Draw one line per trial: leading trials in colour, pruned ones with a cross at their end."""
    figure = empty_figure("epoch", title)
    groups = (
        ("complete", "other complete", BLUE, 0.4),
        ("pruned", "pruned", "#8a8a8a", 0.6),
        ("failed", "failed", RED, 0.6),
        ("running", "running", SKY, 1.0),
    )
    for state, name, colour, opacity in groups:
        group_curves = [curve for curve in curves if curve.state == state and curve.rank is None]
        _add_trace(
            figure,
            group_curves,
            metric,
            line={"color": colour, "width": 1.3},
            name=name,
            opacity=opacity,
        )
    pruned_curves = [curve for curve in curves if curve.state == "pruned"]
    figure.add_scatter(
        x=[curve.epochs[-1] for curve in pruned_curves],
        y=[curve.values[-1] for curve in pruned_curves],
        mode="markers",
        marker={"symbol": "x", "size": 7, "color": GREY},
        showlegend=False,
        hoverinfo="skip",
    )
    for curve in curves:
        if curve.rank is not None:
            line = {"color": LEADER_COLOURS[curve.rank - 1], "width": 2.6}
            name = f"trial {curve.number} (rank {curve.rank})"
            _add_trace(figure, [curve], metric, line=line, name=name, legendrank=curve.rank)
    longest = max((curve.epochs[-1] for curve in curves), default=0)
    figure.update_xaxes(tickformat="d", dtick=1 if longest <= 10 else None)
    return figure


def _add_trace(
    figure: go.Figure, curves: Sequence[LearningCurve], metric: str, **style: Any
) -> None:
    """Add several curves as one trace.

    A None ends a line in Plotly. One trace per trial would make a page of 1,000 trials slow, since
    every trace has its own SVG elements and legend entry.
    """
    xs = [epoch for curve in curves for epoch in (*curve.epochs, None)]
    ys = [value for curve in curves for value in (*curve.values, None)]
    texts = [text for curve in curves for text in (*_hover_texts(curve, metric), "")]
    numbers = [curve.number for curve in curves for _ in (*curve.epochs, None)]
    # A single epoch gives no line, so it needs a marker; a pruned trial has its cross already.
    has_single_epoch = any(len(c.epochs) == 1 and c.state != "pruned" for c in curves)
    if xs:
        mode = "lines+markers" if has_single_epoch else "lines"
        figure.add_scatter(
            x=xs,
            y=ys,
            mode=mode,
            customdata=numbers,
            hovertext=texts,
            hoverinfo="text",
            **style,
        )


def _hover_texts(curve: LearningCurve, metric: str) -> list[str]:
    return [
        f"trial {curve.number}, epoch {epoch}<br>{metric} {value:.5f}"
        for epoch, value in zip(curve.epochs, curve.values, strict=True)
    ]
