"""Figure of encoders, architectures and other network choices at equal tuning budget."""

import plotly.graph_objects as go

from harness.core.text import count, truncate
from harness.report.analysis.budget import MIN_GROUP, BudgetComparison, compare_at_equal_budget
from harness.report.figures.axes import parameter_axis
from harness.report.figures.cost import style_of
from harness.report.figures.section import FigureSection, LabelledFigure, figure_section
from harness.report.figures.style import ObjectiveLabel, empty_figure, escape_markup
from harness.report.tables.study_tables import StudyTables

MAX_GROUPS = 12  # curves that remain distinguishable in one figure


def categorical_model_parameters(tables: StudyTables) -> list[str]:
    """Keys of the searched parameters of the network that are categorical."""
    finished = [record for record in tables.records if record.state in ("complete", "pruned")]
    axes = [parameter_axis(key, finished) for key in tables.parameters if key.startswith("model.")]
    return [axis.key for axis in axes if axis and axis.scale == "choice" and axis.varies]


def budget_section(tables: StudyTables, objective: ObjectiveLabel) -> FigureSection:
    """One figure for each categorical parameter of the network with two comparable values."""
    keys = categorical_model_parameters(tables)
    comparisons = [compare_at_equal_budget(tables, key) for key in keys]
    drawn = [comparison for comparison in comparisons if len(comparison.curves) > 1]
    return figure_section(
        "budget",
        "Choices at equal effort",
        " ".join([*(comparison.sentence for comparison in drawn), *_left_out_notes(drawn)])
        + " The expected best of n is the mean of the best value over all subsets of n trials of a "
        "choice (Dodge et al. 2019, without replacement). Bands contain 95 % of resampled studies "
        "and are too narrow for few trials. Pruned trials count with their best value, which "
        "further training could only have improved; failed trials are excluded. The sampler "
        "proposes late trials from what it has learned, and it proposes promising choices more "
        "often, so the result can differ from that of random search.",
        [
            LabelledFigure(comparison.sentence, draw_budget(comparison, objective))
            for comparison in drawn
        ],
        _empty_reason(keys, comparisons),
        "small" if len(drawn) > 1 else "one",
    )


def _empty_reason(keys: list[str], comparisons: list[BudgetComparison]) -> str:
    if not keys:
        return "No categorical parameter of the network took two values in finished trials."
    group_counts = "; ".join(
        f"{comparison.key}: "
        + ", ".join(
            [
                *(f"{c.group} has {c.n_complete + c.n_pruned}" for c in comparison.curves),
                *(f"{group} has {n}" for group, n in comparison.small_groups),
            ]
        )
        for comparison in comparisons
    )
    return f"Needs two values with {MIN_GROUP} complete or pruned trials each. {group_counts}."


def _left_out_notes(drawn: list[BudgetComparison]) -> list[str]:
    return [
        f"Excluded values of {comparison.key}, with fewer than {MIN_GROUP} trials: "
        + ", ".join(f"{truncate(group)} ({n})" for group, n in comparison.small_groups)
        + "."
        for comparison in drawn
        if comparison.small_groups
    ] + [
        f"The figure shows the best {MAX_GROUPS} of {count(len(comparison.curves), 'value')} of "
        f"{comparison.key}."
        for comparison in drawn
        if len(comparison.curves) > MAX_GROUPS
    ]


def draw_budget(comparison: BudgetComparison, objective: ObjectiveLabel) -> go.Figure:
    """Draw the expected best of n for each choice, with its band."""
    figure = empty_figure(
        f"n, complete or pruned trials<br>of each {escape_markup(comparison.key)}",
        f"expected best of n<br>{objective.title}",
        height=400,
    )
    curves = comparison.curves[:MAX_GROUPS]
    names = sorted(curve.group for curve in curves)
    budgets = list(range(1, comparison.budget + 1))
    for curve in curves:
        colour, symbol = style_of(curve.group, names)
        # One closed polygon per band: `tonexty` would fill up to the previous trace, which is the
        # line of another group once the reader hides a group in the legend.
        figure.add_scatter(
            x=[*budgets, *reversed(budgets)],
            y=[*curve.low, *reversed(curve.high)],
            fill="toself",
            mode="none",
            fillcolor=colour,
            opacity=0.15,
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=budgets,
            y=curve.expected,
            mode="lines+markers" if len(budgets) <= 30 else "lines",
            line={"color": colour, "width": 2.2},
            marker={"symbol": symbol, "size": 7},
            name=(
                f"{escape_markup(truncate(curve.group))} ({curve.n_complete} + {curve.n_pruned} "
                "pruned)"
            ),
            hovertext=[
                f"{escape_markup(curve.group)}, best of {n}<br>{objective.metric} {value:.5f}"
                f"<br>{low:.5f} to {high:.5f}"
                for n, value, low, high in zip(
                    budgets, curve.expected, curve.low, curve.high, strict=True
                )
            ],
            hoverinfo="text",
        )
    # "d": Plotly labels a short axis with half trials otherwise.
    figure.update_xaxes(tickformat="d", dtick=1 if comparison.budget <= 20 else None)
    return figure
