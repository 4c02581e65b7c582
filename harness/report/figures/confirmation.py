"""Figure of the confirmation: values of each configuration trained again, and in the search."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from harness.core.text import count
from harness.evaluation.confirm.results import Confirmation
from harness.report.figures.style import (
    BLUE,
    ORANGE,
    RED,
    ObjectiveLabel,
    empty_figure,
    is_finite_number,
)


@dataclass(frozen=True)
class ConfirmedRow:
    """Values of one configuration; unknown ones are None.

    Attributes:
        trial: number of its trial in the search.
        searched: its objective in the search.
        values: pairs of seed or fold and objective.
        mean: confirmed mean; low, high: the 95 % interval of it.
    """

    trial: int
    searched: float | None
    values: tuple[tuple[int, float], ...]
    mean: float | None
    low: float | None
    high: float | None


def confirmed_rows(confirmation: Confirmation) -> list[ConfirmedRow]:
    """Rows of the configurations with at least one complete run, best first."""
    return [
        ConfirmedRow(
            trial=row.trial,
            searched=row.searched if is_finite_number(row.searched) else None,
            values=tuple(
                (run.part, run.value)
                for run in row.runs
                if run.state == "complete" and run.value is not None
            ),
            mean=row.mean,
            low=None if row.interval is None else row.interval.low,
            high=None if row.interval is None else row.interval.high,
        )
        for row in confirmation.rows
        if row.values
    ]


def confirmation_sentence(
    rows: Sequence[ConfirmedRow], kind: str, objective: ObjectiveLabel
) -> str:
    """The best confirmed mean, and how far the search was from it."""
    best = rows[0]
    runs = count(len(best.values), kind)
    text = f"Trial {best.trial} has a mean {objective.metric} of {best.mean:.4f} over {runs}"
    if best.searched is None or best.mean is None:
        return f"{text}."
    gap = (best.mean - best.searched) * (1 if objective.minimized else -1)
    direction = "better" if gap > 0 else "worse"
    return f"{text}; in the search it was {abs(gap):.4f} {direction}."


def draw_confirmation(
    rows: Sequence[ConfirmedRow], kind: str, objective: ObjectiveLabel
) -> go.Figure:
    """Draw a dot per seed or fold, a diamond for the mean and a cross for the search.

    Args:
        kind: seed or fold.
    """
    figure = empty_figure("configuration, best confirmed mean first", objective.title)
    dots = [(row.trial, part, value) for row in rows for part, value in row.values]
    figure.add_scatter(
        x=[_trial_name(trial) for trial, _, _ in dots],
        y=[value for _, _, value in dots],
        mode="markers",
        marker={"color": BLUE, "size": 8, "opacity": 0.75},
        name=f"one {kind}",
        customdata=[trial for trial, _, _ in dots],
        hovertext=[_hover_text(t, f"{kind} {part}", value, objective) for t, part, value in dots],
        hoverinfo="text",
    )
    _add_means(figure, rows, objective)
    crosses = [(row.trial, row.searched) for row in rows if row.searched is not None]
    figure.add_scatter(
        x=[_trial_name(trial) for trial, _ in crosses],
        y=[value for _, value in crosses],
        mode="markers",
        # x-thin has no area to fill: its colour is that of the outline.
        marker={"color": RED, "size": 11, "symbol": "x-thin", "line": {"color": RED, "width": 2.5}},
        name="in the search",
        customdata=[trial for trial, _ in crosses],
        hovertext=[
            _hover_text(trial, "in the search", value, objective) for trial, value in crosses
        ],
        hoverinfo="text",
    )
    figure.update_xaxes(type="category", categoryorder="array")
    figure.update_xaxes(categoryarray=[_trial_name(row.trial) for row in rows])
    return figure


def _add_means(figure: go.Figure, rows: Sequence[ConfirmedRow], objective: ObjectiveLabel) -> None:
    # Plotly's error bars are lengths from the point, and the interval is not symmetric about it.
    means = [(row, row.mean) for row in rows if row.mean is not None]
    figure.add_scatter(
        x=[_trial_name(row.trial) for row, _ in means],
        y=[mean for _, mean in means],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [0.0 if row.high is None else row.high - mean for row, mean in means],
            "arrayminus": [0.0 if row.low is None else mean - row.low for row, mean in means],
            "thickness": 1.5,
        },
        mode="markers",
        marker={"color": ORANGE, "size": 11, "symbol": "diamond"},
        name="confirmed mean",
        hovertext=[_hover_text(row.trial, "mean", mean, objective) for row, mean in means],
        hoverinfo="text",
    )


def _trial_name(trial: int) -> str:
    return f"trial {trial}"


def _hover_text(trial: int, label: str, value: float, objective: ObjectiveLabel) -> str:
    return f"trial {trial}, {label}<br>{objective.metric} {value:.5f}"
