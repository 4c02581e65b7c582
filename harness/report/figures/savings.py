"""Figures of effort: best value against device time, and epochs and time that pruning saved."""

from collections import Counter
from collections.abc import Collection, Sequence

import plotly.graph_objects as go

from harness.core.text import count, format_duration, plural, was_or_were
from harness.report.analysis.savings import (
    PruningSavings,
    TrialSpending,
    last_trials_sentence,
    measure_savings,
    trial_spendings,
)
from harness.report.figures.history import add_best_line, step_corners
from harness.report.figures.section import FigureSection, LabelledFigure, figure_section
from harness.report.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    ObjectiveLabel,
    empty_figure,
    hover_text,
    is_finite_number,
)
from harness.report.tables.downsample import TrialSubset
from harness.report.tables.study_tables import StudyTables

STATE_COLOURS = {"complete": BLUE, "pruned": ORANGE, "failed": PURPLE, "running": SKY}
_SAVED = "#6b7278"  # opaque and dark: Plotly writes white on it, whatever the page is
TIME_UNITS = (("h", 3600.0), ("min", 60.0), ("s", 1.0))


def progress_section(
    tables: StudyTables, objective: ObjectiveLabel, subset: TrialSubset
) -> FigureSection:
    """Build the figure at the top of the page: best value so far against device time."""
    rows = trial_spendings(tables)
    finder = next((row for row in rows if row.best == rows[-1].best), None) if rows else None
    charts = []
    if finder is not None and finder.best is not None:
        states = Counter(row.state for row in rows)
        label = (
            f"Trial {finder.number} reached the best {objective.metric}, {finder.best:.4f}, after "
            f"{format_duration(finder.cumulative_seconds)} of "
            f"{format_duration(rows[-1].cumulative_seconds)} of device time; "
            f"{states['pruned']} of {count(len(rows), 'trial')} {was_or_were(states['pruned'])} "
            "pruned."
        )
        charts.append(LabelledFigure(label, draw_spending(rows, objective, subset.numbers)))
    return figure_section(
        "progress",
        "Best value so far",
        "Device time is the time of the recorded epochs, summed over all devices.",
        charts,
        "No complete trial has recorded the seconds of its epochs.",
    )


def effort_section(tables: StudyTables) -> FigureSection:
    """Build the section on the savings of the pruner."""
    pruning_savings, rows = measure_savings(tables), trial_spendings(tables)
    empty = "No complete or pruned trial has recorded the seconds of its epochs."
    charts = []
    if pruning_savings is not None:
        empty = f"{pruning_savings.sentence} {last_trials_sentence(rows)}"
        if pruning_savings.n_pruned:
            charts.append(LabelledFigure(pruning_savings.sentence, draw_savings(pruning_savings)))
    return figure_section(
        "effort",
        "Time spent and saved",
        f"{last_trials_sentence(rows)} Device time is the time of the recorded epochs, training "
        "and validation, summed over all devices. Each saved epoch counts the median seconds of "
        "its trial's own epochs.",
        charts,
        empty,
    )


def draw_savings(pruning_savings: PruningSavings) -> go.Figure:
    """Draw two bars, epochs and time, each divided by the state of the trials, and the savings."""
    figure = empty_figure("share of all planned (%)", "effort", height=190)
    totals = (
        sum(pruning_savings.epochs.values()) + pruning_savings.epochs_saved,
        sum(pruning_savings.seconds.values()) + pruning_savings.seconds_saved,
    )
    parts = [
        (f"trained, {state}", colour, pruning_savings.epochs[state], pruning_savings.seconds[state])
        for state, colour in STATE_COLOURS.items()
        if state in pruning_savings.epochs
    ]
    parts.append(
        ("saved by pruning", _SAVED, pruning_savings.epochs_saved, pruning_savings.seconds_saved)
    )
    for name, colour, epochs, seconds in parts:
        # Epochs and seconds are drawn as shares, so that both bars fit on one axis.
        shares = [100 * v / t if t else 0.0 for v, t in zip((epochs, seconds), totals, strict=True)]
        hatching = {"shape": "/", "fillmode": "overlay", "solidity": 0.2}
        pattern = hatching if name.startswith("saved") else {}
        figure.add_bar(
            x=shares,
            y=["epochs", "time"],
            orientation="h",
            name=name,
            marker={"color": colour, "pattern": pattern},
            text=[str(epochs), format_duration(seconds)],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            hovertext=[
                f"{name}<br>{epochs} {plural('epoch', epochs)}",
                f"{name}<br>{format_duration(seconds)}",
            ],
            hoverinfo="text",
        )
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    # A label that does not fit into a narrow part is hidden; Plotly would shrink or rotate it.
    figure.update_layout(uniformtext={"minsize": 10, "mode": "hide"})
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(autorange="reversed")
    return figure


def draw_spending(
    rows: Sequence[TrialSpending], objective: ObjectiveLabel, visible_numbers: Collection[int]
) -> go.Figure:
    """Draw trials at their end in cumulative device time, and the best value so far.

    Args:
        visible_numbers: numbers of the trials whose points are drawn; the best value is that of
            all trials.
    """
    unit, size = next(
        ((u, s) for u, s in TIME_UNITS if rows[-1].cumulative_seconds >= s), TIME_UNITS[-1]
    )
    figure = empty_figure(f"device time, summed over trials ({unit})", objective.title, height=320)
    best_rows = step_corners([row for row in rows if row.best is not None])
    add_best_line(figure, [(row.cumulative_seconds / size, row.best) for row in best_rows])
    styles = {
        "complete": (BLUE, "circle"),
        "pruned": (GREY, "x"),
        "failed": (GREEN, "diamond-open"),
    }
    for state, (colour, symbol) in styles.items():
        state_rows = [
            r
            for r in rows
            if r.state == state and is_finite_number(r.value) and r.number in visible_numbers
        ]
        if state_rows:
            figure.add_scatter(
                x=[row.cumulative_seconds / size for row in state_rows],
                y=[row.value for row in state_rows],
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 7},
                name=state,
                customdata=[row.number for row in state_rows],
                hovertext=[
                    f"{hover_text(row.number, objective, row.value or 0.0, state)}"
                    f"<br>{format_duration(row.seconds)} of device time"
                    for row in state_rows
                ],
                hoverinfo="text",
            )
    figure.update_xaxes(rangemode="tozero")
    return figure
