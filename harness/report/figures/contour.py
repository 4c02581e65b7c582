"""The objective over the two most important numeric parameters, between the trials that ran."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from scipy.interpolate import griddata
from scipy.spatial import QhullError

from harness.report.figures.axes import Axis, log_ticks, parameter_axis
from harness.report.figures.chart import Chart, Section, section
from harness.report.figures.style import Objective, empty_figure, hover, safe
from harness.report.shown import Shown, only
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import count, text_of

MIN_TRIALS = 10  # points below which a surface would be mostly invention
GRID = 40  # places along each axis
# Best to worst, as parallel coordinates have it: orange, blue, grey.
SHADES = ((0.0, "#e08e00"), (0.35, "#2b83c9"), (1.0, "#9aa5ad"))


@dataclass(frozen=True)
class Surface:
    """Complete trials over two parameters, and the objective between them.

    Attributes:
        numbers, xs, ys, values: of each trial.
        grid_x, grid_y: GRID places along each axis, even on the axis's own scale.
        grid: (GRID, GRID), rows along y; NaN outside the hull of the trials.
    """

    x_axis: Axis
    y_axis: Axis
    numbers: tuple[int, ...]
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    values: tuple[float, ...]
    grid_x: NDArray[np.float64]
    grid_y: NDArray[np.float64]
    grid: NDArray[np.float64]


def numeric_parameters(tables: StudyTables, important: Sequence[str]) -> list[Axis]:
    """Axes of the numeric parameters that varied among complete trials, most important first.

    Args:
        important: keys of the parameters that are told from chance, most important first.
    """
    complete = ranked_records(tables)
    axes = [parameter_axis(key, complete) for key in important]
    return [axis for axis in axes if axis and axis.scale != "choice" and axis.varies]


def surface(tables: StudyTables, x_axis: Axis, y_axis: Axis) -> Surface | None:
    """Linear interpolation over a triangulation of the trials (scipy's griddata).

    Distances are measured on the axes as they are drawn. None with fewer than MIN_TRIALS complete
    trials in which both are in force, and where these lie on one line.
    """
    keys = (x_axis.key, y_axis.key)
    some = [r for r in ranked_records(tables) if all(key in r.params for key in keys)]
    if len(some) < MIN_TRIALS:
        return None
    places = np.array([[a.position(r.params[a.key]) for a in (x_axis, y_axis)] for r in some])
    values = np.array([record.value for record in some], np.float64)
    places, kept = np.unique(places, axis=0, return_index=True)  # best first: of equals the best
    even = np.linspace(0.0, 1.0, GRID)
    try:
        grid = griddata(places, values[kept], tuple(np.meshgrid(even, even)), method="linear")
    except (QhullError, ValueError):
        return None
    return Surface(
        x_axis,
        y_axis,
        tuple(record.number for record in some),
        tuple(_number(record.params[x_axis.key]) for record in some),
        tuple(_number(record.params[y_axis.key]) for record in some),
        tuple(values.tolist()),
        _along(x_axis, even),
        _along(y_axis, even),
        grid,
    )


def contour_section(
    tables: StudyTables, objective: Objective, shown: Shown, important: Sequence[str]
) -> Section:
    """The contour plot, or what is missing for one."""
    axes = numeric_parameters(tables, important)
    found = surface(only(tables, shown), *axes[:2]) if len(axes) >= 2 else None
    charts = []
    if found is not None:
        label = f"{objective.metric} over {axes[0].key} and {axes[1].key}"
        charts.append(Chart(label, draw_contour(found, objective)))
    return section(
        "contour",
        "Contour",
        "The two numeric parameters of most importance. Between complete trials (points) the "
        "objective is interpolated linearly, which smooths no noise; where no trial lies around, "
        "nothing is drawn. " + shown.note,
        charts,
        _missing(tables, axes),
    )


def _missing(tables: StudyTables, axes: list[Axis]) -> str:
    if len(axes) < 2:
        return (
            "Needs two numeric parameters whose importance is told from chance; this study has "
            f"{len(axes)} from {count(len(ranked_records(tables)), 'complete trial')}."
        )
    keys = [axis.key for axis in axes[:2]]
    n = sum(all(key in record.params for key in keys) for record in ranked_records(tables))
    what = f"{keys[0]} and {keys[1]}"
    if n < MIN_TRIALS:
        return f"Needs {MIN_TRIALS} complete trials with {what}; this study has {n}."
    return (
        f"The {count(n, 'complete trial')} with {what} lie on one line, with no area between them."
    )


def draw_contour(found: Surface, objective: Objective) -> go.Figure:
    """Filled contours under the trials that they come from."""
    figure = empty_figure(safe(found.x_axis.key), safe(found.y_axis.key), height=440)
    low, high = min(found.values), max(found.values)
    look = {
        "colorscale": [list(shade) for shade in SHADES],
        "reversescale": not objective.minimized,
    }
    bar = {"title": {"text": objective.title, "font": {"size": 12}}, "thickness": 14}
    bar |= {"outlinewidth": 0}
    figure.add_contour(
        x=found.grid_x.tolist(),
        y=found.grid_y.tolist(),
        z=[[None if math.isnan(z) else z for z in row] for row in found.grid.tolist()],
        zmin=low,
        zmax=high,
        ncontours=12,
        colorbar=bar,
        line={"width": 0.5},
        hoverinfo="skip",
        **look,
    )
    marker = {"size": 8, "color": list(found.values), "cmin": low, "cmax": high, **look}
    figure.add_scatter(
        x=found.xs,
        y=found.ys,
        mode="markers",
        marker=marker | {"line": {"width": 1.5, "color": "#ffffff"}},
        cliponaxis=False,
        hovertext=[
            f"{hover(number, objective, value, 'complete')}"
            f"<br>{safe(found.x_axis.key)} {text_of(x)}<br>{safe(found.y_axis.key)} {text_of(y)}"
            for number, x, y, value in zip(
                found.numbers, found.xs, found.ys, found.values, strict=True
            )
        ],
        hoverinfo="text",
    )
    for axis, update in ((found.x_axis, figure.update_xaxes), (found.y_axis, figure.update_yaxes)):
        if axis.scale == "log":
            update(**log_ticks(axis))
    figure.update_layout(showlegend=False)
    return figure


def _along(axis: Axis, even: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at these places between the ends of an axis, 0 to 1."""
    if axis.scale == "log":
        return np.asarray(axis.low * (axis.high / axis.low) ** even, np.float64)
    return np.asarray(axis.low + (axis.high - axis.low) * even, np.float64)


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
