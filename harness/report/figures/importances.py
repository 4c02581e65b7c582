"""Which parameters decided whether a trial was among the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from harness.records import TrialRecord
from harness.report.figures.chart import Chart, Section, section
from harness.report.figures.style import BLUE, SKY, empty_figure, safe
from harness.report.importance import (
    MIN_IMPORTANCE_TRIALS,
    MOST_IMPORTANCE_TRIALS,
    Branch,
    branches,
    importances,
)
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import short

FEW = 20  # complete trials below which importances are a hint at most


@dataclass(frozen=True)
class ImportanceRow:
    """A parameter's share, and in how many of the complete trials it was in force."""

    key: str
    share: float
    in_force: int
    complete: int


def importance_rows(
    complete: Sequence[TrialRecord], shares: Mapping[str, float]
) -> list[ImportanceRow]:
    """The shares that `importances` found for these trials, with the trials they hold in."""
    return [
        ImportanceRow(key, share, sum(key in record.params for record in complete), len(complete))
        for key, share in shares.items()
    ]


def importance_section(tables: StudyTables, overall: Mapping[str, float]) -> Section:
    """All complete trials, then each branch of the space that has enough of them.

    Args:
        overall: `importances` of all complete trials.
    """
    complete = ranked_records(tables)
    rows, n = importance_rows(complete, overall), len(complete)
    charts = [Chart(_label("", rows), draw_importances(rows))] if rows else []
    told, missing = [], []
    for branch in branches(tables) if rows else []:
        shares = importance_rows(branch.records, importances(tables, branch.records))
        name = f"{branch.key} {short(branch.value)}"
        if shares:
            figure = draw_importances(shares, f"{name}, {len(branch.records)} trials")
            charts.append(Chart(_label(f" where {name}", shares), figure))
            told.append(branch)
        else:
            missing.append(branch)
    partial = any(row.in_force < row.complete for row in rows)
    words = [
        "How much each parameter's value tells about being among the best trials (PED-ANOVA).",
        "Lighter bars: in force in some trials only." if partial else "",
        f"Below, the same within each branch of the space; below {FEW} trials a hint at most."
        if told
        else "",
        _too_small(missing),
        f"With {n} complete trials this is a hint at most." if n < FEW else "",
        f"Of {n} complete trials {MOST_IMPORTANCE_TRIALS}, evenly by rank, were used."
        if n > MOST_IMPORTANCE_TRIALS
        else "",
    ]
    return section(
        "importances",
        "Parameter importances",
        " ".join(word for word in words if word),
        charts,
        f"Importances need {MIN_IMPORTANCE_TRIALS} complete trials that differ; this study has {n}."
        if tables.parameters
        else "No parameter was searched.",
    )


def _label(where: str, rows: Sequence[ImportanceRow]) -> str:
    return f"Share of each parameter{where}: " + ", ".join(f"{r.key} {r.share:.2f}" for r in rows)


def _too_small(missing: Sequence[Branch]) -> str:
    if not missing:
        return ""
    each = ", ".join(f"{one.key} {short(one.value)} ({len(one.records)})" for one in missing)
    return (
        f"A branch needs {MIN_IMPORTANCE_TRIALS} complete trials that differ; left out, with the "
        f"trials they have: {each}."
    )


def draw_importances(rows: Sequence[ImportanceRow], title: str = "") -> go.Figure:
    """Bars, the largest on top; a parameter that was not always in force says so."""
    figure = empty_figure(
        "share (no unit; all add up to 1)",
        "parameter",
        height=110 + 30 * len(rows) + 20 * bool(title),
    )
    figure.add_bar(
        x=[row.share for row in rows],
        y=list(range(len(rows))),
        orientation="h",
        marker={"color": [BLUE if row.in_force == row.complete else SKY for row in rows]},
        text=[f"{row.share:.0%}" for row in rows],
        textposition="outside",
        cliponaxis=False,
        hovertext=[
            f"{safe(row.key)}: {row.share:.3f}"
            f"<br>in force in {row.in_force} of {row.complete} complete trials"
            for row in rows
        ],
        hoverinfo="text",
    )
    labels = [
        safe(row.key) + (f" ({row.in_force} of {row.complete})" * (row.in_force < row.complete))
        for row in rows
    ]
    figure.update_yaxes(autorange="reversed", tickvals=list(range(len(rows))), ticktext=labels)
    figure.update_xaxes(range=[0, 1.15 * max((row.share for row in rows), default=1.0)])
    figure.update_layout(showlegend=False)
    if title:
        figure.update_layout(title={"text": safe(title), "font": {"size": 13}, "x": 0})
    return figure
