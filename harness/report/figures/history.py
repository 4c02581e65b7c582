"""Figure of the optimisation history: value of each trial, and the best value so far."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import plotly.graph_objects as go

from harness.core.text import count, join_words
from harness.report.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    SKY,
    ObjectiveLabel,
    empty_figure,
    hover_text,
    is_finite_number,
)
from harness.report.tables.study_tables import StudyTables, ranked_records


@dataclass(frozen=True)
class HistoryRow:
    """One trial; `best` is the best value of the complete trials up to it, None before any."""

    number: int
    state: str
    value: float | None
    best: float | None


def history_rows(tables: StudyTables) -> list[HistoryRow]:
    """Rows of every trial in order of number; only complete trials change the best value."""
    rows: list[HistoryRow] = []
    best: float | None = None
    objective = tables.config.objective
    # A pruned trial has a value, too, but of fewer epochs: it must not lower the line of the best.
    ranked = {record.number for record in ranked_records(tables)}
    for record in tables.records:
        value = record.value if is_finite_number(record.value) else None
        if value is not None and record.number in ranked:
            best = value if best is None or objective.better(value, best) else best
        rows.append(HistoryRow(record.number, record.state, value, best))
    return rows


def history_sentence(rows: Sequence[HistoryRow], objective: ObjectiveLabel) -> str:
    """The best trial, and the number of trials in each state."""
    counts = Counter(row.state for row in rows)
    states = join_words(f"{n} {state}" for state, n in counts.items())
    best = rows[-1].best if rows else None
    finder = next((row for row in rows if best is not None and row.best == best), None)
    if finder is None:
        return f"No trial is complete yet; of {count(len(rows), 'trial')}, {states}."
    return (
        f"Trial {finder.number} has the best {objective.metric}, {best:.4f}; of "
        f"{count(len(rows), 'trial')}, {states}."
    )


class BestValueRow(Protocol):
    """Row with the best value so far."""

    @property
    def best(self) -> float | None: ...


_Row = TypeVar("_Row", bound=BestValueRow)


def step_corners(rows: Sequence[_Row]) -> list[_Row]:
    """Rows at which the step line of the best value so far has a corner or an end."""
    last = len(rows) - 1
    # Corners only: with 10,000 trials the full line would add as many points to the page.
    return [row for i, row in enumerate(rows) if i in (0, last) or row.best != rows[i - 1].best]


def add_best_line(figure: go.Figure, points: Sequence[tuple[float, float | None]]) -> None:
    """Add the best value so far as steps: it holds until the next trial improves it."""
    figure.add_scatter(
        x=[x for x, _ in points],
        y=[best for _, best in points],
        mode="lines",
        # "hv": horizontal first, as a value holds until the next trial; a straight
        # line would show progress between two trials.
        line={"shape": "hv", "color": ORANGE, "width": 2.5},
        name="best so far",
        hoverinfo="skip",
    )


def draw_history(
    rows: Sequence[HistoryRow],
    objective: ObjectiveLabel,
    visible_numbers: Collection[int] | None = None,
) -> go.Figure:
    """Draw the value of each trial, pruned ones as crosses, and the best so far as steps.

    Args:
        visible_numbers: numbers of the trials whose points are drawn; None: all. The best value is
            always that of all trials.
    """
    figure = empty_figure("trial", objective.title)
    best_rows = step_corners([row for row in rows if row.best is not None])
    add_best_line(figure, [(row.number, row.best) for row in best_rows])
    styles = {
        "complete": (BLUE, "circle"),
        "pruned": (GREY, "x"),
        "failed": (GREY, "triangle-down-open"),
        "running": (SKY, "circle-open"),
    }
    for state, (colour, symbol) in styles.items():
        points = [
            (row.number, row.value)
            for row in rows
            if row.state == state
            and row.value is not None
            and (visible_numbers is None or row.number in visible_numbers)
        ]
        if points:
            figure.add_scatter(
                x=[number for number, _ in points],
                y=[value for _, value in points],
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 8},
                name=state,
                customdata=[number for number, _ in points],
                hovertext=[hover_text(number, objective, value, state) for number, value in points],
                hoverinfo="text",
            )
    # Plotly would label halves of a trial number in a short study.
    figure.update_xaxes(dtick=1 if len(rows) <= 20 else None)
    return figure
