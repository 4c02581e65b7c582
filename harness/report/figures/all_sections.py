"""Figure sections of a report, each with the sentence that replaces a figure without data."""

from collections.abc import Sequence
from dataclasses import replace

from harness.config.measurements import COSTS, CostEntry
from harness.report.analysis.importance import measure_importances
from harness.report.analysis.interactions import measure_interactions
from harness.report.figures.budget import budget_section
from harness.report.figures.contour import contour_section
from harness.report.figures.cost import (
    GROUP_SYMBOLS,
    CostRow,
    cost_groups,
    cost_rows,
    draw_cost,
    pareto_front,
    style_of,
)
from harness.report.figures.curves import curves_sentence, draw_learning_curves, learning_curves
from harness.report.figures.history import draw_history, history_rows, history_sentence
from harness.report.figures.importances import importance_section
from harness.report.figures.parallel import (
    AXIS_PX,
    draw_parallel,
    parallel_lines,
    parallel_sentence,
)
from harness.report.figures.savings import effort_section, progress_section
from harness.report.figures.section import (
    FigureSection,
    LabelledFigure,
    LegendEntry,
    figure_section,
)
from harness.report.figures.slices import draw_slice, parameter_slices, slice_sentence
from harness.report.figures.strata import strata_section
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.downsample import (
    TrialSubset,
    downsample_curves,
    downsample_trials,
    restrict_to_subset,
)
from harness.report.tables.study_tables import StudyTables, trials_in_state


def report_sections(tables: StudyTables) -> list[FigureSection]:
    """Build every figure section in the order of the page."""
    objective = ObjectiveLabel.from_config(tables.config)
    # The permutation test behind the importances is the slowest part of a report, so it runs once
    # for the two sections that use it.
    subset, importances = downsample_trials(tables), measure_importances(tables)
    interactions = measure_interactions(tables, importances)
    return [
        progress_section(tables, objective, subset),
        _history_section(tables, objective, subset),
        effort_section(tables),
        _curves_section(tables, objective),
        importance_section(tables, importances, interactions),
        budget_section(tables, objective),
        _parallel_section(tables, objective, subset),
        _slices_section(tables, objective, subset),
        contour_section(
            tables,
            objective,
            subset,
            [parameter.key for parameter in importances.named],
            interactions,
        ),
        _costs_section(tables, objective, subset),
        strata_section(tables),
    ]


def _history_section(
    tables: StudyTables, objective: ObjectiveLabel, subset: TrialSubset
) -> FigureSection:
    rows = history_rows(tables)
    drawn = any(row.value is not None for row in rows)
    label = history_sentence(rows, objective)
    n_failed = len(trials_in_state(tables, "failed"))
    return figure_section(
        "history",
        "Best value by trial",
        "Each point is a trial at its best epoch, the line is the best complete trial so far. "
        "Crosses are pruned trials: they were stopped early and cannot be compared."
        + (f" Failed trials: {n_failed}. " if n_failed else " ")
        + subset.note,
        [LabelledFigure(label, draw_history(rows, objective, subset.numbers))] if drawn else [],
        "No trial has finished an epoch yet.",
    )


def _curves_section(tables: StudyTables, objective: ObjectiveLabel) -> FigureSection:
    subset = downsample_curves(tables)
    subset_tables = restrict_to_subset(tables, subset)
    charts = []
    titles = {objective.metric: objective.title, "train/loss": "train/loss (weighted parts)"}
    for metric, title in titles.items():
        curves = learning_curves(subset_tables, metric)
        if curves:
            minimized = objective.minimized if metric == objective.metric else True
            label = curves_sentence(curves, metric, minimized=minimized)
            charts.append(LabelledFigure(label, draw_learning_curves(curves, metric, title)))
    return figure_section(
        "curves",
        "Learning curves",
        f"{subset.note or 'All trials.'} The leading trials are in colour; a cross marks the last "
        "epoch of a pruned trial. Training losses can only be compared between trials with the "
        "same loss weights.",
        charts,
        "No trial has finished an epoch yet.",
    )


def _parallel_section(
    tables: StudyTables, objective: ObjectiveLabel, subset: TrialSubset
) -> FigureSection:
    axes, all_lines = parallel_lines(tables)
    lines = [line for line in all_lines if line.number in subset.numbers]
    label = parallel_sentence(axes, lines) if lines else ""
    return figure_section(
        "parallel",
        "All settings of all trials",
        "One line per complete trial, from orange (best) through blue to grey (worst). A gap marks "
        "a parameter that was not active in the trial. " + subset.note,
        [LabelledFigure(label, draw_parallel(axes, lines, objective), AXIS_PX * len(axes))]
        if lines
        else [],
        "Needs two complete trials that differ in a parameter.",
        "wide",
    )


def _slices_section(
    tables: StudyTables, objective: ObjectiveLabel, subset: TrialSubset
) -> FigureSection:
    charts = [
        LabelledFigure(
            slice_sentence(parameter_slice, objective),
            draw_slice(parameter_slice, objective),
        )
        for parameter_slice in parameter_slices(restrict_to_subset(tables, subset))
    ]
    return figure_section(
        "slices",
        "Each setting alone",
        "The objective against one parameter at a time; later trials are darker. Crosses are "
        "pruned trials at their best value. " + subset.note,
        charts,
        "Needs a complete trial and a searched parameter.",
        "small",
    )


def _costs_section(
    tables: StudyTables, objective: ObjectiveLabel, subset: TrialSubset
) -> FigureSection:
    rows_by_cost = cost_rows(tables)
    groups = cost_groups(rows_by_cost)
    charts = [
        LabelledFigure(
            _cost_label(rows, cost, objective),
            draw_cost(rows, cost, groups, objective, subset.numbers),
        )
        for cost, rows in rows_by_cost.items()
    ]
    drawn = figure_section(
        "cost",
        "Cost against quality",
        "Complete trials. The dotted line is the Pareto front: no other trial is better without "
        "costing more; #n is trial n. Times and memory depend on the device of the trial. "
        + subset.note,
        charts,
        "No complete trial has recorded its costs.",
        "small",
    )
    return replace(drawn, legend=_cost_legend(groups))


def _cost_legend(groups: Sequence[str]) -> tuple[LegendEntry, ...]:
    styles = [(group, *style_of(group, groups)) for group in groups]
    return tuple(
        LegendEntry(group, GROUP_SYMBOLS[symbol], colour) for group, colour, symbol in styles
    )


def _cost_label(rows: Sequence[CostRow], cost: str, objective: ObjectiveLabel) -> str:
    front_rows = pareto_front(rows, minimized=objective.minimized)
    cheapest, best = front_rows[0], front_rows[-1]
    entry = COSTS[cost]
    text = f"Trial {best.number} has the best {objective.metric}, {best.value:.4f}"
    if cheapest.value == best.value:
        return f"{text}, and is the cheapest ({entry.axis_title} {_cost_text(entry, best.cost)})."
    return (
        f"{text} ({entry.axis_title} {_cost_text(entry, best.cost)}); trial {cheapest.number} is "
        f"the cheapest ({_cost_text(entry, cheapest.cost)}), "
        f"{abs(cheapest.value - best.value):.4f} behind."
    )


def _cost_text(entry: CostEntry, value: float) -> str:
    """Cost with its unit, which some cells of tables leave to the heading of their column."""
    text = entry.format(value)
    return f"{text} {entry.unit}" if text[-1].isdigit() else text
