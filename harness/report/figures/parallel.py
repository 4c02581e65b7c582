"""Figure of parallel coordinates: every complete trial as one line across all parameters.

Drawn as ordinary lines: Plotly's own parallel coordinates need WebGL and code generated from text,
which the page's security policy forbids, and they have no gaps for inactive parameters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from harness.core.records import TrialRecord
from harness.core.text import count, display_value, join_words, truncate
from harness.report.figures.axes import ParameterAxis, parameter_axis
from harness.report.figures.style import (
    GREY,
    ObjectiveLabel,
    empty_figure,
    escape_markup,
    hover_text,
)
from harness.report.tables.study_tables import StudyTables, ranked_records

# From best to worst, in tones with enough contrast on light and dark pages.
_RANK_COLOURS = ((0.0, (224, 142, 0)), (0.35, (43, 131, 201)), (1.0, (154, 165, 173)))
AXIS_PX = 92  # minimum distance of two axes, for the labels between them
MAX_BANDS = 10  # lines of similar rank share a trace; one trace per trial makes the page slow


@dataclass(frozen=True)
class ParallelLine:
    """One complete trial across all axes; the position on an inactive parameter's axis is None."""

    rank: int
    number: int
    value: float
    positions: tuple[float | None, ...]
    texts: tuple[str, ...]


def parallel_lines(tables: StudyTables) -> tuple[list[ParameterAxis], list[ParallelLine]]:
    """Build axes and lines of the complete trials, best first.

    Returns:
        Axes of the parameters with more than one value and of the objective, and one line per
        trial; ([], []) with fewer than two trials or without such a parameter.
    """
    complete = ranked_records(tables)
    axes = [axis for key in tables.parameters if (axis := parameter_axis(key, complete))]
    axes = [axis for axis in axes if axis.varies]
    if not axes or len(complete) < 2:
        return [], []
    values = [record.value for record in complete if record.value is not None]
    objective = ParameterAxis(
        tables.config.objective.metric, "linear", (), min(values), max(values)
    )
    lines = [
        _trial_line(rank, record, value, axes, objective)
        for rank, (record, value) in enumerate(zip(complete, values, strict=True), start=1)
    ]
    return [*axes, objective], lines


def parallel_sentence(axes: Sequence[ParameterAxis], lines: Sequence[ParallelLine]) -> str:
    """The choices that the best quarter of the trials shares."""
    n_best = max(2, round(len(lines) / 4))
    if n_best == len(lines):
        return f"Only {count(len(lines), 'complete trial')} can be compared."
    shared = [
        f"{axis.key} {lines[0].texts[index]}"
        for index, axis in enumerate(axes)
        if axis.scale == "choice" and len({line.texts[index] for line in lines[:n_best]}) == 1
    ]
    start = f"The best {n_best} of {count(len(lines), 'complete trial')}"
    if shared:
        return f"{start} share {join_words(shared)}."
    has_choices = any(axis.scale == "choice" for axis in axes)
    return f"{start} share no choice." if has_choices else f"{start} differ in numbers only."


def _trial_line(
    rank: int,
    record: TrialRecord,
    value: float,
    axes: Sequence[ParameterAxis],
    objective: ParameterAxis,
) -> ParallelLine:
    params = record.params
    positions = [axis.position(params[axis.key]) if axis.key in params else None for axis in axes]
    texts = [display_value(params[a.key]) if a.key in params else "not active" for a in axes]
    return ParallelLine(
        rank,
        record.number,
        value,
        (*positions, objective.position(value)),
        (*texts, display_value(value)),
    )


def draw_parallel(
    axes: Sequence[ParameterAxis], lines: Sequence[ParallelLine], objective: ObjectiveLabel
) -> go.Figure:
    """Draw a line per trial, coloured by rank, the best on top."""
    figure = empty_figure("", "", height=460)
    n_bands = min(MAX_BANDS, len(lines))
    for band in reversed(range(n_bands)):  # later traces are on top, so the best band is last
        band_lines = [line for i, line in enumerate(lines) if i * n_bands // len(lines) == band]
        line_style = {
            "color": _rank_colour(band / max(n_bands - 1, 1)),
            "width": 2.4 if band == 0 else 1.6,
        }
        _add_lines(
            figure, band_lines, axes, objective, line_style, opacity=1.0 if band == 0 else 0.6
        )
    annotations = [
        annotation
        for index, axis in enumerate(axes)
        for annotation in _axis_annotations(index, axis, objective)
    ]
    # Set once: each `add_annotation` would check all annotations before it again.
    figure.update_layout(
        annotations=annotations, shapes=[_axis_line(index) for index in range(len(axes))]
    )
    figure.update_xaxes(visible=False, range=[-0.35, len(axes) - 0.35])
    figure.update_yaxes(visible=False, range=[-0.06, 1.3])
    figure.update_layout(margin={"l": 10, "r": 10, "t": 10, "b": 10}, showlegend=False)
    return figure


def _rank_colour(share: float) -> str:
    """Colour of a relative rank, from 0 (best) to 1 (worst)."""
    stops = [stop for stop, _ in _RANK_COLOURS]
    channels = zip(*(colour for _, colour in _RANK_COLOURS), strict=True)
    levels = [round(float(np.interp(share, stops, channel))) for channel in channels]
    return f"rgb({levels[0]},{levels[1]},{levels[2]})"


def _add_lines(
    figure: go.Figure,
    lines: Sequence[ParallelLine],
    axes: Sequence[ParameterAxis],
    objective: ObjectiveLabel,
    line_style: dict[str, object],
    *,
    opacity: float,
) -> None:
    xs: list[int | None] = []
    ys: list[float | None] = []
    texts: list[str] = []
    numbers: list[int] = []
    for line in lines:
        title = hover_text(line.number, objective, line.value, f"rank {line.rank}")
        for index in range(len(axes)):
            xs.append(index)
            ys.append(line.positions[index])
            texts.append(title)
        # None ends the line of a trial; an inactive parameter is a None within it.
        xs.append(None)
        ys.append(None)
        texts.append("")
        numbers += [line.number] * (len(axes) + 1)
    figure.add_scatter(
        x=xs,
        y=ys,
        mode="lines+markers",
        line=line_style,
        marker={"size": 6},
        opacity=opacity,
        customdata=numbers,
        hovertext=texts,
        hoverinfo="text",
    )


def _axis_line(index: int) -> dict[str, Any]:
    line = {"color": GREY, "width": 1}
    ends = {"x0": index, "x1": index, "y0": 0, "y1": 1}
    return {"type": "line", "layer": "below", "line": line, **ends}


def _axis_annotations(
    index: int, axis: ParameterAxis, objective: ObjectiveLabel
) -> Iterator[dict[str, Any]]:
    """Name of the parameter above its axis, and its choices or ends beside it."""
    group, _, name = axis.key.rpartition(".")
    top_line = f"{escape_markup(group)}." if group else objective.direction_text
    height = 1.05 if index % 2 == 0 else 1.16  # alternating: names of neighbours would overlap
    yield _annotation(index, height, f"{top_line}<br><b>{escape_markup(name)}</b>", title=True)
    if axis.scale == "choice":
        for choice in axis.choices:
            yield _annotation(index, axis.position(choice), escape_markup(truncate(choice, 15)))
    else:
        yield _annotation(index, 0.0, display_value(axis.low))
        yield _annotation(index, 1.0, display_value(axis.high))


def _annotation(x: float, y: float, text: str, *, title: bool = False) -> dict[str, Any]:
    return {
        "x": x,
        "y": y,
        "text": text,
        "xanchor": "center" if title else "left",
        "yanchor": "bottom" if title else "middle",
        "xshift": 0 if title else 7,
        "showarrow": False,
        "font": {"size": 11},
    }
