"""Parallel coordinates: every complete trial as one line across all parameters.

Drawn as ordinary lines. Plotly's own parallel coordinates need WebGL and code made from text, which
the page's security policy forbids, and they cannot leave out a value that is not in force.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from harness.records import TrialRecord
from harness.report.figures.axes import Axis, parameter_axis
from harness.report.figures.style import GREY, Objective, empty_figure, hover, safe
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import short, text_of

# Best to worst, in tones that hold on a light and a dark page.
_RANKS = ((0.0, (224, 142, 0)), (0.35, (43, 131, 201)), (1.0, (154, 165, 173)))
AXIS_PX = 92  # least room between axes for the texts beside them
BANDS = 10  # lines of like rank share a trace: a thousand traces would make a slow page


@dataclass(frozen=True)
class Line:
    """One complete trial across all axes; a position is None where a parameter is not in force."""

    rank: int
    number: int
    value: float
    positions: tuple[float | None, ...]
    texts: tuple[str, ...]


def parallel_rows(tables: StudyTables) -> tuple[list[Axis], list[Line]]:
    """Parameters that took more than one value, then the objective; complete trials, best first.

    Returns:
        ([], []) where there is nothing to compare: fewer than two trials, or no such parameter.
    """
    complete = ranked_records(tables)
    axes = [axis for key in tables.parameters if (axis := parameter_axis(key, complete))]
    axes = [axis for axis in axes if axis.varies]
    if not axes or len(complete) < 2:
        return [], []
    values = [record.value for record in complete if record.value is not None]
    objective = Axis(tables.config.objective.metric, "linear", (), min(values), max(values))
    lines = [
        _line(rank, record, value, axes, objective)
        for rank, (record, value) in enumerate(zip(complete, values, strict=True), start=1)
    ]
    return [*axes, objective], lines


def _line(
    rank: int, record: TrialRecord, value: float, axes: Sequence[Axis], objective: Axis
) -> Line:
    params = record.params
    positions = [axis.position(params[axis.key]) if axis.key in params else None for axis in axes]
    texts = [text_of(params[a.key]) if a.key in params else "not in force" for a in axes]
    return Line(
        rank,
        record.number,
        value,
        (*positions, objective.position(value)),
        (*texts, text_of(value)),
    )


def draw_parallel(axes: Sequence[Axis], lines: Sequence[Line], objective: Objective) -> go.Figure:
    """A line per trial coloured by rank, the best on top."""
    figure = empty_figure("", "", height=460)
    n_bands = min(BANDS, len(lines))
    for band in reversed(range(n_bands)):  # worst first, so that the best lie on top
        some = [line for i, line in enumerate(lines) if i * n_bands // len(lines) == band]
        look = {"color": _shade(band / max(n_bands - 1, 1)), "width": 2.4 if band == 0 else 1.6}
        _add_lines(figure, some, axes, objective, look, opacity=1.0 if band == 0 else 0.6)
    for place, axis in enumerate(axes):
        _draw_axis(figure, place, axis, objective)
    figure.update_xaxes(visible=False, range=[-0.35, len(axes) - 0.35])
    figure.update_yaxes(visible=False, range=[-0.06, 1.3])
    figure.update_layout(margin={"l": 10, "r": 10, "t": 10, "b": 10}, showlegend=False)
    return figure


def _shade(share: float) -> str:
    """The colour of a rank, 0 the best, 1 the worst."""
    places = [place for place, _ in _RANKS]
    channels = zip(*(colour for _, colour in _RANKS), strict=True)
    levels = [round(float(np.interp(share, places, channel))) for channel in channels]
    return f"rgb({levels[0]},{levels[1]},{levels[2]})"


def _add_lines(
    figure: go.Figure,
    lines: Sequence[Line],
    axes: Sequence[Axis],
    objective: Objective,
    look: dict[str, object],
    *,
    opacity: float,
) -> None:
    xs: list[int | None] = []
    ys: list[float | None] = []
    texts: list[str] = []
    for line in lines:
        head = hover(line.number, objective, line.value, f"rank {line.rank}")
        for place, axis in enumerate(axes):
            xs.append(place)
            ys.append(line.positions[place])
            texts.append(f"{head}<br>{safe(axis.key)} {safe(line.texts[place])}")
        xs.append(None)
        ys.append(None)
        texts.append("")
    figure.add_scatter(
        x=xs,
        y=ys,
        mode="lines+markers",
        line=look,
        marker={"size": 6},
        opacity=opacity,
        hovertext=texts,
        hoverinfo="text",
    )


def _draw_axis(figure: go.Figure, place: int, axis: Axis, objective: Objective) -> None:
    line = {"color": GREY, "width": 1}
    figure.add_shape(type="line", x0=place, x1=place, y0=0, y1=1, line=line, layer="below")
    group, _, name = axis.key.rpartition(".")
    above = f"{safe(group)}." if group else objective.better
    height = 1.05 if place % 2 == 0 else 1.16  # neighbours' names would run into each other
    _note(figure, place, height, f"{above}<br><b>{safe(name)}</b>", title=True)
    if axis.scale == "choice":
        for choice in axis.choices:
            _note(figure, place, axis.position(choice), safe(short(choice, 15)))
    else:
        _note(figure, place, 0.0, text_of(axis.low))
        _note(figure, place, 1.0, text_of(axis.high))


def _note(figure: go.Figure, x: float, y: float, text: str, *, title: bool = False) -> None:
    figure.add_annotation(
        x=x,
        y=y,
        text=text,
        xanchor="center" if title else "left",
        yanchor="bottom" if title else "middle",
        xshift=0 if title else 7,
        showarrow=False,
        font={"size": 11},
    )
