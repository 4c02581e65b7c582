"""Which parameters decided whether a trial was among the best."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from harness.core.records import TrialRecord
from harness.core.text import count, truncate
from harness.report.analysis.importance import (
    MAX_IMPORTANCE_TRIALS,
    MIN_IMPORTANCE_TRIALS,
    ImportanceResult,
    ParameterImportance,
    SpaceBranch,
    all_values_equal,
    measure_importances,
    space_branches,
)
from harness.report.analysis.permutation_test import LEVEL
from harness.report.figures.section import FigureSection, LabelledFigure, figure_section
from harness.report.figures.style import BLUE, SKY, empty_figure, escape_markup
from harness.report.tables.study_tables import StudyTables, ranked_records

MIN_RELIABLE_TRIALS = 20  # complete trials below which importances are a hint at most


@dataclass(frozen=True)
class ImportanceRow:
    """A parameter's share, and in how many of the complete trials it was in force.

    Attributes:
        explained, shuffled: as in `harness.report.analysis.permutation_test.Decisive`.
    """

    key: str
    share: float
    n_active: int
    n_complete: int
    explained: float
    shuffled: float


def importance_rows(
    complete: Sequence[TrialRecord], parameters: Sequence[ParameterImportance]
) -> list[ImportanceRow]:
    """What `measured` named for these trials, with the trials in which it is in force."""
    return [
        ImportanceRow(
            parameter.key,
            parameter.share,
            sum(parameter.key in record.params for record in complete),
            len(complete),
            parameter.explained,
            parameter.shuffled,
        )
        for parameter in parameters
    ]


def importance_section(tables: StudyTables, overall: ImportanceResult) -> FigureSection:
    """All complete trials, then each branch of the space that has enough of them.

    Args:
        overall: `measured` of all complete trials.
    """
    complete = ranked_records(tables)
    rows, n = importance_rows(complete, overall.named), len(complete)
    charts = [LabelledFigure(_chart_label("", rows), draw_importances(rows))] if rows else []
    branch_charts, sentences = _branch_charts(tables) if overall.n_varied else ([], [])
    charts += branch_charts
    any_inactive = any(row.n_active < row.n_complete for row in rows)
    caption = [
        "How much each parameter's value tells about being among the best trials (PED-ANOVA).",
        _explained_note(rows),
        _unexplained_note(overall),
        "Lighter bars: in force in some trials only." if any_inactive else "",
        *sentences,
        f"With {count(n, 'complete trial')} this is a hint at most."
        if n < MIN_RELIABLE_TRIALS
        else "",
        f"Of {count(n, 'complete trial')} {MAX_IMPORTANCE_TRIALS}, evenly by rank, were used."
        if n > MAX_IMPORTANCE_TRIALS
        else "",
    ]
    return figure_section(
        "importances",
        "Parameter importances",
        " ".join(sentence for sentence in caption if sentence),
        charts,
        _empty_reason(tables, overall, n),
    )


def _branch_charts(tables: StudyTables) -> tuple[list[LabelledFigure], list[str]]:
    """A chart of each branch in which something is told from chance, and sentences on the others.

    LEVEL is divided by the number of branches, so that it holds for all of them together.
    """
    all_branches = space_branches(tables)
    level = LEVEL / max(len(all_branches), 1)
    charts: list[LabelledFigure] = []
    small_branches, undecided_names = [], []
    for branch in all_branches:
        result = measure_importances(tables, branch.records, level)
        name = f"{branch.key} {truncate(branch.value)}"
        rows = importance_rows(branch.records, result.named)
        if rows:
            figure = draw_importances(rows, f"{name}, {count(len(branch.records), 'trial')}")
            charts.append(LabelledFigure(_chart_label(f" where {name}", rows), figure))
        elif result.n_varied:
            undecided_names.append(name)
        else:
            small_branches.append(branch)
    sentences = [
        f"Below, the same within each branch of the space; below {MIN_RELIABLE_TRIALS} trials a "
        "hint at most."
        if charts
        else "",
        f"No parameter is told from chance where {'; '.join(undecided_names)}."
        if undecided_names
        else "",
        _small_branches_note(small_branches),
    ]
    return charts, sentences


def _explained_note(rows: Sequence[ImportanceRow]) -> str:
    """What the values explain of the order, beside what shuffled values reach."""
    if not rows:
        return ""
    clearest = sorted(rows, key=lambda row: -row.explained)
    parameter_texts = ", ".join(f"{r.key} {r.explained:.0%} ({r.shuffled:.0%})" for r in clearest)
    return (
        "Named are only parameters whose values explain more of the order of the trials than "
        f"shuffled values do; in brackets what those reach in {LEVEL:.0%} of all shuffles: "
        f"{parameter_texts}, "
        "each of what clearer ones leave."
    )


def _unexplained_note(overall: ImportanceResult) -> str:
    n_unexplained = overall.n_varied - len(overall.named)
    if not n_unexplained:
        return ""
    shuffled_text = "" if overall.shuffled is None else f" ({overall.shuffled:.0%})"
    subject = f"{n_unexplained} of {count(overall.n_varied, 'parameter')}"
    return (
        f"{subject} {'explains' if n_unexplained == 1 else 'explain'} no more than shuffled values "
        f"do{shuffled_text}."
    )


def _empty_reason(tables: StudyTables, overall: ImportanceResult, n: int) -> str:
    """Why there is no figure."""
    if not tables.parameters:
        return "No parameter was searched."
    if not overall.n_varied:
        complete = ranked_records(tables)
        if n >= MIN_IMPORTANCE_TRIALS:
            same_noun = "value" if all_values_equal(complete) else "configuration"
            trials_text = count(n, "complete trial")
            return f"All {trials_text} have the same {same_noun}: no importance can be measured."
        return (
            f"Importances need {MIN_IMPORTANCE_TRIALS} complete trials that differ; this study has "
            f"{n}."
        )
    hint = (
        f" With {count(n, 'complete trial')} only large effects can be told."
        if n < MIN_RELIABLE_TRIALS
        else ""
    )
    return f"No parameter can be named: {_unexplained_note(overall)}{hint}"


def _chart_label(branch_text: str, rows: Sequence[ImportanceRow]) -> str:
    return f"Share of each parameter{branch_text}: " + ", ".join(
        f"{r.key} {r.share:.2f}" for r in rows
    )


def _small_branches_note(small_branches: Sequence[SpaceBranch]) -> str:
    if not small_branches:
        return ""
    branch_texts = ", ".join(
        f"{branch.key} {truncate(branch.value)} ({len(branch.records)})"
        for branch in small_branches
    )
    return (
        f"A branch needs {MIN_IMPORTANCE_TRIALS} complete trials that differ; left out, with the "
        f"trials they have: {branch_texts}."
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
        marker={"color": [BLUE if row.n_active == row.n_complete else SKY for row in rows]},
        text=[f"{row.share:.0%}" for row in rows],
        textposition="outside",
        cliponaxis=False,
        hovertext=[
            f"{escape_markup(row.key)}: {row.share:.3f}"
            f"<br>explains {row.explained:.0%} of the trials' order, shuffled values "
            f"{row.shuffled:.0%}"
            f"<br>in force in {row.n_active} of {row.n_complete} complete trials"
            for row in rows
        ],
        hoverinfo="text",
    )
    labels = [
        escape_markup(row.key)
        + (f" ({row.n_active} of {row.n_complete})" * (row.n_active < row.n_complete))
        for row in rows
    ]
    figure.update_yaxes(autorange="reversed", tickvals=list(range(len(rows))), ticktext=labels)
    figure.update_xaxes(range=[0, 1.15 * max((row.share for row in rows), default=1.0)])
    figure.update_layout(showlegend=False)
    if title:
        figure.update_layout(title={"text": escape_markup(title), "font": {"size": 13}, "x": 0})
    return figure
