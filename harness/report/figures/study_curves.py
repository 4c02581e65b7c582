"""Figures that compare studies: best value so far by trial, and curves of the leading trials."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from harness.core.text import count
from harness.report.figures.curves import learning_curves
from harness.report.figures.style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    ObjectiveLabel,
    empty_figure,
    escape_markup,
)
from harness.report.tables.study_tables import StudyTables
from harness.tracking.fields import best_so_far

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
_DASHES = ("solid", "dash", "dot")
N_CURVES = 3  # leading trials of each study


@dataclass(frozen=True)
class StudyLine:
    """One line of a figure: points of a study, `rank` from 1 for a trial, None for the study."""

    study: str
    rank: int | None
    label: str
    x: tuple[int, ...]
    y: tuple[float, ...]


def best_lines(studies: Sequence[StudyTables]) -> list[StudyLine]:
    """Best value so far after each complete trial, in the order of their ends."""
    lines = []
    for tables in studies:
        points = list(best_so_far(tables.records, tables.config.objective))
        numbers = tuple(range(1, len(points) + 1))
        values = tuple(point.value for point in points)
        lines.append(StudyLine(tables.paths.name, None, tables.paths.name, numbers, values))
    return [line for line in lines if line.x]


def leading_lines(studies: Sequence[StudyTables]) -> list[StudyLine]:
    """Objective by epoch of the leading trials of each study."""
    return [
        StudyLine(
            tables.paths.name,
            curve.rank,
            f"{tables.paths.name}, trial {curve.number}",
            curve.epochs,
            curve.values,
        )
        for tables in studies
        for curve in reversed(learning_curves(tables, tables.config.objective.metric))
        if curve.rank is not None and curve.rank <= N_CURVES
    ]


def lines_sentence(lines: Sequence[StudyLine], objective: ObjectiveLabel) -> str:
    """Best value of each study, or of its leading trial, and when it was reached."""
    choose = min if objective.minimized else max
    parts = []
    for line in lines:
        best = choose(line.y)
        x = line.x[line.y.index(best)]
        if line.rank is None:
            parts.append(f"{line.label} {best:.4f} after {count(x, 'complete trial')}")
        elif line.rank == 1:
            parts.append(f"{line.label} {best:.4f} at epoch {x}")
    return (
        f"{'Lowest' if objective.minimized else 'Highest'} {objective.metric}: {'; '.join(parts)}."
    )


def draw_study_lines(
    lines: Sequence[StudyLine], names: Sequence[str], x_title: str, objective: ObjectiveLabel
) -> go.Figure:
    """Draw lines in one colour for each study, and one dash for each rank."""
    figure = empty_figure(x_title, objective.title)
    for line in lines:
        colour = _COLOURS[list(names).index(line.study) % len(_COLOURS)]
        dash = _DASHES[((line.rank or 1) - 1) % len(_DASHES)]
        figure.add_scatter(
            x=line.x,
            y=line.y,
            name=escape_markup(line.label),
            mode="lines+markers" if line.rank is None or len(line.x) == 1 else "lines",
            line={
                "color": colour,
                "dash": dash,
                "width": 2.2,
                "shape": "hv" if line.rank is None else "linear",
            },
            hovertemplate=f"{escape_markup(line.label)}<br>%{{x}}: %{{y:.5f}}<extra></extra>",
        )
    longest = max((line.x[-1] for line in lines), default=0)
    figure.update_xaxes(tickformat="d", dtick=1 if longest <= 10 else None)
    figure.update_layout(showlegend=True)  # also for a single line, which has no name otherwise
    return figure
