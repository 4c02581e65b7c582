"""Learning curves of all trials."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from harness.report.figures.style import BLUE, GREY, LEADERS, RED, SKY, empty_figure, finite
from harness.report.tables import StudyTables, ranked_records


@dataclass(frozen=True)
class Curve:
    """A metric of one trial, epoch by epoch; `rank` (from 1) only for the leading trials."""

    number: int
    state: str
    rank: int | None
    epochs: tuple[int, ...]
    values: tuple[float, ...]


def curve_rows(tables: StudyTables, metric: str) -> list[Curve]:
    """The metric of every trial that logged it, the leading ones last (so drawn on top)."""
    if metric not in tables.epochs.columns:
        return []
    leading = ranked_records(tables)[: len(LEADERS)]
    ranks = {record.number: rank for rank, record in enumerate(leading, start=1)}
    states = {record.number: record.state for record in tables.records}
    logged = tables.epochs[tables.epochs[metric].map(finite)]
    curves = []
    for key, group in logged.groupby("number", sort=True):
        number = int(str(key))
        epochs = tuple(int(epoch) for epoch in group["epoch"])
        values = tuple(float(value) for value in group[metric])
        curves.append(Curve(number, states[number], ranks.get(number), epochs, values))
    return sorted(curves, key=lambda curve: (curve.rank is not None, -(curve.rank or 0)))


def draw_curves(curves: Sequence[Curve], metric: str, title: str) -> go.Figure:
    """One line per trial over epochs: the leading ones in colour, pruned ones ending in a cross."""
    figure = empty_figure("epoch", title)
    groups = (
        ("complete", "other complete", BLUE, 0.4),
        ("pruned", "pruned", "#8a8a8a", 0.6),
        ("failed", "failed", RED, 0.6),
        ("running", "running", SKY, 1.0),
    )
    for state, name, colour, opacity in groups:
        some = [curve for curve in curves if curve.state == state and curve.rank is None]
        _add(figure, some, metric, line={"color": colour, "width": 1.3}, name=name, opacity=opacity)
    ends = [curve for curve in curves if curve.state == "pruned"]
    figure.add_scatter(
        x=[curve.epochs[-1] for curve in ends],
        y=[curve.values[-1] for curve in ends],
        mode="markers",
        marker={"symbol": "x", "size": 7, "color": GREY},
        showlegend=False,
        hoverinfo="skip",
    )
    for curve in curves:
        if curve.rank is not None:
            line = {"color": LEADERS[curve.rank - 1], "width": 2.6}
            name = f"trial {curve.number} (rank {curve.rank})"
            _add(figure, [curve], metric, line=line, name=name, legendrank=curve.rank)
    longest = max((curve.epochs[-1] for curve in curves), default=0)
    figure.update_xaxes(tickformat="d", dtick=1 if longest <= 10 else None)
    return figure


def _add(figure: go.Figure, curves: Iterable[Curve], metric: str, **look: Any) -> None:
    """Several curves as one trace with gaps: a thousand traces would make a slow page."""
    xs: list[int | None] = []
    ys: list[float | None] = []
    texts: list[str] = []
    single = False
    for curve in curves:
        xs += [*curve.epochs, None]
        ys += [*curve.values, None]
        texts += [
            f"trial {curve.number}, epoch {epoch}<br>{metric} {value:.5f}"
            for epoch, value in zip(curve.epochs, curve.values, strict=True)
        ]
        texts.append("")
        # a single epoch makes no line; a pruned trial has its cross instead
        single = single or (len(curve.epochs) == 1 and curve.state != "pruned")
    if xs:
        mode = "lines+markers" if single else "lines"
        figure.add_scatter(x=xs, y=ys, mode=mode, hovertext=texts, hoverinfo="text", **look)
