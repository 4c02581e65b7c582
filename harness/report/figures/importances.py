"""Which parameters decided whether a trial was among the best."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from harness.records import TrialRecord
from harness.report.decisive import LEVEL
from harness.report.figures.chart import Chart, Section, section
from harness.report.figures.style import BLUE, SKY, empty_figure, safe
from harness.report.importance import (
    MIN_IMPORTANCE_TRIALS,
    MOST_IMPORTANCE_TRIALS,
    Branch,
    Importance,
    Importances,
    branches,
    measured,
    one_value,
)
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import count, short

FEW = 20  # complete trials below which importances are a hint at most


@dataclass(frozen=True)
class ImportanceRow:
    """A parameter's share, and in how many of the complete trials it was in force.

    Attributes:
        explained, shuffled: as in `harness.report.decisive.Decisive`.
    """

    key: str
    share: float
    in_force: int
    complete: int
    explained: float
    shuffled: float


def importance_rows(
    complete: Sequence[TrialRecord], named: Sequence[Importance]
) -> list[ImportanceRow]:
    """What `measured` named for these trials, with the trials in which it is in force."""
    return [
        ImportanceRow(
            one.key,
            one.share,
            sum(one.key in record.params for record in complete),
            len(complete),
            one.explained,
            one.shuffled,
        )
        for one in named
    ]


def importance_section(tables: StudyTables, overall: Importances) -> Section:
    """All complete trials, then each branch of the space that has enough of them.

    Args:
        overall: `measured` of all complete trials.
    """
    complete = ranked_records(tables)
    rows, n = importance_rows(complete, overall.named), len(complete)
    charts = [Chart(_label("", rows), draw_importances(rows))] if rows else []
    drawn, words = _branches(tables) if overall.n_varied else ([], [])
    charts += drawn
    partial = any(row.in_force < row.complete for row in rows)
    caption = [
        "How much each parameter's value tells about being among the best trials (PED-ANOVA).",
        _explained(rows),
        _unnamed(overall),
        "Lighter bars: in force in some trials only." if partial else "",
        *words,
        f"With {count(n, 'complete trial')} this is a hint at most." if n < FEW else "",
        f"Of {count(n, 'complete trial')} {MOST_IMPORTANCE_TRIALS}, evenly by rank, were used."
        if n > MOST_IMPORTANCE_TRIALS
        else "",
    ]
    return section(
        "importances",
        "Parameter importances",
        " ".join(word for word in caption if word),
        charts,
        _nothing(tables, overall, n),
    )


def _branches(tables: StudyTables) -> tuple[list[Chart], list[str]]:
    """A chart of each branch in which something is told from chance, and sentences on the others.

    LEVEL is divided by the number of branches, so that it holds for all of them together.
    """
    every = branches(tables)
    level = LEVEL / max(len(every), 1)
    charts: list[Chart] = []
    small, nothing = [], []
    for branch in every:
        result = measured(tables, branch.records, level)
        name = f"{branch.key} {short(branch.value)}"
        rows = importance_rows(branch.records, result.named)
        if rows:
            figure = draw_importances(rows, f"{name}, {count(len(branch.records), 'trial')}")
            charts.append(Chart(_label(f" where {name}", rows), figure))
        elif result.n_varied:
            nothing.append(name)
        else:
            small.append(branch)
    words = [
        f"Below, the same within each branch of the space; below {FEW} trials a hint at most."
        if charts
        else "",
        f"No parameter is told from chance where {'; '.join(nothing)}." if nothing else "",
        _too_small(small),
    ]
    return charts, words


def _explained(rows: Sequence[ImportanceRow]) -> str:
    """What the values explain of the order, beside what shuffled values reach."""
    if not rows:
        return ""
    clearest = sorted(rows, key=lambda row: -row.explained)
    each = ", ".join(f"{r.key} {r.explained:.0%} ({r.shuffled:.0%})" for r in clearest)
    return (
        "Named are only parameters whose values explain more of the order of the trials than "
        f"shuffled values do; in brackets what those reach in {LEVEL:.0%} of all shuffles: {each}, "
        "each of what clearer ones leave."
    )


def _unnamed(overall: Importances) -> str:
    left = overall.n_varied - len(overall.named)
    if not left:
        return ""
    reach = "" if overall.shuffled is None else f" ({overall.shuffled:.0%})"
    of = f"{left} of {count(overall.n_varied, 'parameter')}"
    return f"{of} {'explains' if left == 1 else 'explain'} no more than shuffled values do{reach}."


def _nothing(tables: StudyTables, overall: Importances, n: int) -> str:
    """Why there is no figure."""
    if not tables.parameters:
        return "No parameter was searched."
    if not overall.n_varied:
        complete = ranked_records(tables)
        if n >= MIN_IMPORTANCE_TRIALS:
            same = "value" if one_value(complete) else "configuration"
            each = count(n, "complete trial")
            return f"All {each} have the same {same}: no importance can be measured."
        return (
            f"Importances need {MIN_IMPORTANCE_TRIALS} complete trials that differ; this study has "
            f"{n}."
        )
    hint = f" With {count(n, 'complete trial')} only large effects can be told." if n < FEW else ""
    return f"No parameter can be named: {_unnamed(overall)}{hint}"


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
            f"<br>explains {row.explained:.0%} of the trials' order, shuffled values "
            f"{row.shuffled:.0%}"
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
