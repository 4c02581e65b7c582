"""All figures of a report, by section, each with the sentence that stands where one is empty."""

from collections.abc import Sequence
from dataclasses import replace

from harness.report.figures.budget import budget_section
from harness.report.figures.chart import Chart, Mark, Section, section
from harness.report.figures.contour import contour_section
from harness.report.figures.cost import (
    SYMBOLS,
    CostRow,
    cost_rows,
    draw_cost,
    front,
    groups_of,
    look_of,
    named,
)
from harness.report.figures.curves import curve_rows, draw_curves
from harness.report.figures.history import draw_history, history_rows
from harness.report.figures.importances import importance_section
from harness.report.figures.parallel import AXIS_PX, draw_parallel, parallel_rows
from harness.report.figures.savings import effort_section
from harness.report.figures.slices import draw_slice, slice_rows
from harness.report.figures.strata import strata_section
from harness.report.figures.style import Objective
from harness.report.importance import measured
from harness.report.shown import Shown, only, shown_curves, shown_trials
from harness.report.tables import StudyTables, of_state
from harness.wording import count


def sections(tables: StudyTables) -> list[Section]:
    """Every section in the order of the page."""
    objective = Objective.of(tables.config)
    shown, overall = shown_trials(tables), measured(tables)
    return [
        _history(tables, objective, shown),
        effort_section(tables, objective, shown),
        _curves(tables, objective),
        importance_section(tables, overall),
        budget_section(tables, objective),
        _parallel(tables, objective, shown),
        _slices(tables, objective, shown),
        contour_section(tables, objective, shown, [one.key for one in overall.named]),
        _costs(tables, objective, shown),
        strata_section(tables),
    ]


def _history(tables: StudyTables, objective: Objective, shown: Shown) -> Section:
    rows = history_rows(tables)
    drawn = any(row.value is not None for row in rows)
    label = f"{objective.metric} of {count(len(rows), 'trial')} in order, with the best so far"
    n_failed = len(of_state(tables, "failed"))
    return section(
        "history",
        "Optimisation history",
        "Each point is a trial at its best epoch, the line the best complete trial so far. Crosses "
        "are pruned trials: they were stopped early and are not comparable."
        + (f" Failed trials: {n_failed}. " if n_failed else " ")
        + shown.note,
        [Chart(label, draw_history(rows, objective, shown.numbers))] if drawn else [],
        "No trial has finished an epoch yet.",
    )


def _curves(tables: StudyTables, objective: Objective) -> Section:
    shown = shown_curves(tables)
    some = only(tables, shown)
    charts = []
    titles = {objective.metric: objective.title, "train/loss": "train/loss (weighted parts)"}
    for metric, title in titles.items():
        curves = curve_rows(some, metric)
        if curves:
            label = f"{metric} by epoch of {count(len(curves), 'trial')}"
            charts.append(Chart(label, draw_curves(curves, metric, title)))
    return section(
        "curves",
        "Learning curves",
        f"{shown.note or 'All trials.'} The leading ones are in colour; a cross ends a pruned one. "
        "Training losses compare only between trials with the same loss weights.",
        charts,
        "No trial has finished an epoch yet.",
    )


def _parallel(tables: StudyTables, objective: Objective, shown: Shown) -> Section:
    axes, every = parallel_rows(tables)
    lines = [line for line in every if line.number in shown.numbers]
    label = f"{count(len(lines), 'complete trial')} across " + ", ".join(axis.key for axis in axes)
    return section(
        "parallel",
        "Parallel coordinates",
        "One line per complete trial, from orange (best) over blue to grey (worst). A gap: the "
        "parameter was not in force. " + shown.note,
        [Chart(label, draw_parallel(axes, lines, objective), AXIS_PX * len(axes))] if lines else [],
        "Needs two complete trials that differ in a parameter.",
        "wide",
    )


def _slices(tables: StudyTables, objective: Objective, shown: Shown) -> Section:
    charts = [
        Chart(f"{objective.metric} against {piece.axis.key}", draw_slice(piece, objective))
        for piece in slice_rows(only(tables, shown))
    ]
    return section(
        "slices",
        "Slices",
        "The objective against one parameter at a time; later trials are darker. Crosses are "
        "pruned trials at the best they had reached. " + shown.note,
        charts,
        "Needs a complete trial and a searched parameter.",
        "small",
    )


def _costs(tables: StudyTables, objective: Objective, shown: Shown) -> Section:
    found = cost_rows(tables)
    groups = groups_of(found)
    charts = [
        Chart(
            _cost_label(rows, cost, objective),
            draw_cost(rows, cost, groups, objective, shown.numbers),
        )
        for cost, rows in found.items()
    ]
    looks = [(group, *look_of(group, groups)) for group in groups]
    drawn = section(
        "cost",
        "Cost against quality",
        "Complete trials. The dotted line is the Pareto front: trials that no other one betters "
        "without costing more; #n is trial n. Times and memory hold for the device each ran on. "
        + shown.note,
        charts,
        "No complete trial has recorded its costs.",
        "small",
    )
    legend = tuple(Mark(group, SYMBOLS[symbol], colour) for group, colour, symbol in looks)
    return replace(drawn, legend=legend)


def _cost_label(rows: Sequence[CostRow], cost: str, objective: Objective) -> str:
    best = named(front(rows, minimized=objective.minimized))
    names = ", ".join(str(row.number) for row in best)
    return f"{objective.metric} against {cost}; on the Pareto front: trials {names}"
