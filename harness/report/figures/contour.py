"""Contour plot of the objective over the two most important numeric parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from scipy.interpolate import griddata
from scipy.spatial import QhullError

from harness.core.text import count, display_value
from harness.report.analysis.interactions import NO_INTERACTIONS, InteractionResult
from harness.report.figures.axes import ParameterAxis, log_ticks, parameter_axis
from harness.report.figures.section import FigureSection, LabelledFigure, figure_section
from harness.report.figures.style import ObjectiveLabel, empty_figure, escape_markup, hover_text
from harness.report.tables.downsample import TrialSubset, restrict_to_subset
from harness.report.tables.study_tables import StudyTables, ranked_records

MIN_TRIALS = 10  # with fewer points most of the surface would be interpolation
GRID_SIZE = 40  # points along each axis
# From best to worst as in the parallel coordinates: orange, blue, grey.
COLOUR_STOPS = ((0.0, "#e08e00"), (0.35, "#2b83c9"), (1.0, "#9aa5ad"))


@dataclass(frozen=True)
class ContourSurface:
    """Complete trials over two parameters, and the objective interpolated between them.

    Attributes:
        numbers, xs, ys, values: one entry per trial.
        grid_x, grid_y: GRID_SIZE values along each axis, evenly spaced on the scale of the axis.
        grid: (GRID_SIZE, GRID_SIZE), rows along y; NaN outside the convex hull of the trials.
    """

    x_axis: ParameterAxis
    y_axis: ParameterAxis
    numbers: tuple[int, ...]
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    values: tuple[float, ...]
    grid_x: NDArray[np.float64]
    grid_y: NDArray[np.float64]
    grid: NDArray[np.float64]


def numeric_axes(tables: StudyTables, important: Sequence[str]) -> list[ParameterAxis]:
    """Axes of the numeric parameters that vary among complete trials, most important first.

    Args:
        important: keys of the parameters with an importance above chance, most important first.
    """
    complete = ranked_records(tables)
    axes = [parameter_axis(key, complete) for key in important]
    return [axis for axis in axes if axis and axis.scale != "choice" and axis.varies]


def interpolate_surface(
    tables: StudyTables, x_axis: ParameterAxis, y_axis: ParameterAxis
) -> ContourSurface | None:
    """Interpolate the objective linearly over a Delaunay triangulation (scipy's griddata).

    Positions are those on the drawn axes, so that a logarithmic axis is triangulated on its
    logarithm and no axis outweighs the other by its unit.

    Returns:
        None with fewer than MIN_TRIALS complete trials in which both parameters are active, or if
        these lie on one line.
    """
    keys = (x_axis.key, y_axis.key)
    records = [r for r in ranked_records(tables) if all(key in r.params for key in keys)]
    if len(records) < MIN_TRIALS:
        return None
    positions = np.array([[a.position(r.params[a.key]) for a in (x_axis, y_axis)] for r in records])
    values = np.array([record.value for record in records], np.float64)
    # Qhull needs distinct points. return_index gives the first of equal ones, and the records are
    # sorted best first, so the best value of a repeated configuration is interpolated.
    positions, unique_index = np.unique(positions, axis=0, return_index=True)
    fractions = np.linspace(0.0, 1.0, GRID_SIZE)
    try:
        grid = griddata(
            positions,
            values[unique_index],
            tuple(np.meshgrid(fractions, fractions)),
            method="linear",
        )
    except (QhullError, ValueError):  # fewer than three points, or all on one line
        return None
    return ContourSurface(
        x_axis,
        y_axis,
        tuple(record.number for record in records),
        tuple(_as_float(record.params[x_axis.key]) for record in records),
        tuple(_as_float(record.params[y_axis.key]) for record in records),
        tuple(values.tolist()),
        _axis_values(x_axis, fractions),
        _axis_values(y_axis, fractions),
        grid,
    )


def contour_section(
    tables: StudyTables,
    objective: ObjectiveLabel,
    subset: TrialSubset,
    important: Sequence[str],
    interactions: InteractionResult = NO_INTERACTIONS,
) -> FigureSection:
    """Build the section with the contour plot, or with the reason for its absence.

    Args:
        important: as in `numeric_axes`.
        interactions: the clearest one between two numeric parameters is drawn.
    """
    axes = numeric_axes(tables, important)
    pair = _interacting_pair(axes, interactions)
    axes = axes if pair is None else list(pair)
    contour = (
        interpolate_surface(restrict_to_subset(tables, subset), *axes[:2])
        if len(axes) >= 2
        else None
    )
    charts = []
    if contour is not None:
        label = (
            f"The best of {count(len(contour.numbers), 'complete trial')}, trial "
            f"{contour.numbers[0]} with {contour.values[0]:.4f}, lies at {axes[0].key} "
            f"{display_value(contour.xs[0])} and {axes[1].key} {display_value(contour.ys[0])}; "
            f"{_interaction_text(interactions, pair is not None)}."
        )
        charts.append(LabelledFigure(label, draw_contour(contour, objective)))
    return figure_section(
        "contour",
        "Two settings together",
        "The two numeric parameters with the clearest interaction, or the two most important ones. "
        "Between complete trials (points) the objective "
        "is interpolated linearly, without smoothing noise; outside the area that the trials "
        "enclose, nothing is drawn. " + subset.note,
        charts,
        _empty_reason(tables, axes),
    )


def _interacting_pair(
    axes: Sequence[ParameterAxis], interactions: InteractionResult
) -> tuple[ParameterAxis, ParameterAxis] | None:
    """Axes of the clearest interaction between two numeric parameters."""
    by_key = {axis.key: axis for axis in axes}
    for pair in interactions.named:
        if pair.first in by_key and pair.second in by_key:
            return by_key[pair.first], by_key[pair.second]
    return None


def _interaction_text(interactions: InteractionResult, is_named: bool) -> str:
    if is_named:
        return "the two interact, beyond what shuffled values reach"
    if interactions.n_pairs:
        return "an interaction of the two does not exceed what shuffled values reach"
    return "there are too few trials to test whether the two interact"


def _empty_reason(tables: StudyTables, axes: list[ParameterAxis]) -> str:
    if len(axes) < 2:
        trials = count(len(ranked_records(tables)), "complete trial")
        return (
            "Needs two numeric parameters with an importance above chance; found "
            f"{'one' if axes else 'none'} in {trials}."
        )
    keys = [axis.key for axis in axes[:2]]
    n = sum(all(key in record.params for key in keys) for record in ranked_records(tables))
    pair_text = f"{keys[0]} and {keys[1]}"
    if n < MIN_TRIALS:
        return f"Needs {MIN_TRIALS} complete trials with {pair_text}; this study has {n}."
    return (
        f"The {count(n, 'complete trial')} with {pair_text} lie on one line, with no area between "
        "them."
    )


def draw_contour(contour: ContourSurface, objective: ObjectiveLabel) -> go.Figure:
    """Draw filled contours with the trials on top."""
    figure = empty_figure(
        escape_markup(contour.x_axis.key), escape_markup(contour.y_axis.key), height=440
    )
    # Surface and points share the scale of the trials, so that equal colours are equal values.
    low, high = min(contour.values), max(contour.values)
    colour_scale = {
        "colorscale": [list(shade) for shade in COLOUR_STOPS],
        "reversescale": not objective.minimized,
    }
    colour_bar = {"title": {"text": objective.title, "font": {"size": 12}}, "thickness": 14}
    colour_bar |= {"outlinewidth": 0}
    figure.add_contour(
        x=contour.grid_x.tolist(),
        y=contour.grid_y.tolist(),
        # JSON has no NaN; None is a hole in the surface.
        z=[[None if math.isnan(z) else z for z in row] for row in contour.grid.tolist()],
        zmin=low,
        zmax=high,
        ncontours=12,
        colorbar=colour_bar,
        line={"width": 0.5},
        hoverinfo="skip",
        **colour_scale,
    )
    _add_trials(figure, contour, objective, colour_scale | {"cmin": low, "cmax": high})
    for axis, update in (
        (contour.x_axis, figure.update_xaxes),
        (contour.y_axis, figure.update_yaxes),
    ):
        if axis.scale == "log":
            update(**log_ticks(axis))
    figure.update_layout(showlegend=False)
    return figure


def _add_trials(
    figure: go.Figure,
    contour: ContourSurface,
    objective: ObjectiveLabel,
    colours: dict[str, object],
) -> None:
    marker = {"size": 8, "color": list(contour.values), **colours}
    figure.add_scatter(
        x=contour.xs,
        y=contour.ys,
        mode="markers",
        marker=marker | {"line": {"width": 1.5, "color": "#ffffff"}},
        cliponaxis=False,
        customdata=contour.numbers,
        hovertext=[
            hover_text(number, objective, value, "complete")
            for number, value in zip(contour.numbers, contour.values, strict=True)
        ],
        hoverinfo="text",
    )


def _axis_values(axis: ParameterAxis, fractions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at these fractions, 0 to 1, between the ends of an axis."""
    if axis.scale == "log":
        return np.asarray(axis.low * (axis.high / axis.low) ** fractions, np.float64)
    return np.asarray(axis.low + (axis.high - axis.low) * fractions, np.float64)


def _as_float(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
