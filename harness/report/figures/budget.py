"""Encoders, architectures and other choices of the network at equal tuning budget."""

import plotly.graph_objects as go

from harness.report.budget import MIN_GROUP, Comparison, compare
from harness.report.figures.axes import parameter_axis
from harness.report.figures.chart import Chart, Section, section
from harness.report.figures.cost import look_of
from harness.report.figures.style import Objective, empty_figure, safe
from harness.report.tables import StudyTables
from harness.report.wording import count, short

MOST_GROUPS = 12  # curves that can be told apart in one figure


def choices_of_the_network(tables: StudyTables) -> list[str]:
    """Keys of the searched parameters of the network that are categorical."""
    some = [record for record in tables.records if record.state in ("complete", "pruned")]
    axes = [parameter_axis(key, some) for key in tables.parameters if key.startswith("model.")]
    return [axis.key for axis in axes if axis and axis.scale == "choice" and axis.varies]


def budget_section(tables: StudyTables, objective: Objective) -> Section:
    """One figure for each categorical parameter of the network with two comparable values."""
    keys = choices_of_the_network(tables)
    found = [compare(tables, key) for key in keys]
    drawn = [one for one in found if len(one.curves) > 1]
    return section(
        "budget",
        "Choices at equal budget",
        " ".join([*(one.sentence for one in drawn), *_left_out(drawn)])
        + " The expected best of n is the mean of the best over all sets of n of a choice's trials "
        "(Dodge et al. 2019, without replacement), bands: 95 % of resampled studies, too narrow "
        "where trials are few. Pruned trials count with the best value they had reached, a bound "
        "that finishing could only have improved; failed ones are left out. Trials that a sampler "
        "drew late were better informed than random ones, and it draws more of what it favours.",
        [Chart(one.sentence, draw_budget(one, objective)) for one in drawn],
        _missing(keys, found),
        "small" if len(drawn) > 1 else "one",
    )


def _missing(keys: list[str], found: list[Comparison]) -> str:
    if not keys:
        return "No categorical parameter of the network took two values in finished trials."
    each = "; ".join(
        f"{one.key}: "
        + ", ".join(
            [
                *(f"{c.group} has {c.n_complete + c.n_pruned}" for c in one.curves),
                *(f"{group} has {n}" for group, n in one.left_out),
            ]
        )
        for one in found
    )
    return f"Needs two values with {MIN_GROUP} complete or pruned trials each. {each}."


def _left_out(drawn: list[Comparison]) -> list[str]:
    return [
        f"Of {one.key} left out, with fewer than {MIN_GROUP} trials: "
        + ", ".join(f"{short(group)} ({n})" for group, n in one.left_out)
        + "."
        for one in drawn
        if one.left_out
    ] + [
        f"Of {one.key} the best {MOST_GROUPS} of {count(len(one.curves), 'value')} are drawn."
        for one in drawn
        if len(one.curves) > MOST_GROUPS
    ]


def draw_budget(found: Comparison, objective: Objective) -> go.Figure:
    """A curve over n for each choice, with its band."""
    figure = empty_figure(
        f"n, complete or pruned trials<br>of each {safe(found.key)}",
        f"expected best of n<br>{objective.title}",
        height=400,
    )
    curves = found.curves[:MOST_GROUPS]
    names = sorted(curve.group for curve in curves)
    budgets = list(range(1, found.budget + 1))
    for curve in curves:
        colour, symbol = look_of(curve.group, names)
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
            name=f"{safe(short(curve.group))} ({curve.n_complete} + {curve.n_pruned} pruned)",
            hovertext=[
                f"{safe(curve.group)}, best of {n}<br>{objective.metric} {value:.5f}"
                f"<br>{low:.5f} to {high:.5f}"
                for n, value, low, high in zip(
                    budgets, curve.expected, curve.low, curve.high, strict=True
                )
            ],
            hoverinfo="text",
        )
    figure.update_xaxes(tickformat="d", dtick=1 if found.budget <= 20 else None)
    return figure
