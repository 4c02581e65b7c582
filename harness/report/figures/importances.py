"""Figures of parameter importances, over all complete trials and per branch of the space."""

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
from harness.report.analysis.interactions import NO_INTERACTIONS, InteractionResult
from harness.report.analysis.permutation_test import LEVEL
from harness.report.figures.section import FigureSection, LabelledFigure, figure_section
from harness.report.figures.style import BLUE, SKY, empty_figure, escape_markup
from harness.report.tables.study_tables import StudyTables, ranked_records

MIN_RELIABLE_TRIALS = 20  # complete trials below which importances are a hint at most


@dataclass(frozen=True)
class ImportanceRow:
    """Importance of one parameter.

    Attributes:
        share: of the importance of all parameters, in [0, 1].
        n_active: number of the complete trials in which the parameter was active.
        n_complete: number of complete trials.
        explained: share of the order of the trials that its values explain, in [0, 1].
        shuffled: share that shuffled values explain, see `analysis.permutation_test`.
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
    """Rows of the parameters with an importance above chance in these trials."""
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


def importance_section(
    tables: StudyTables,
    overall: ImportanceResult,
    interactions: InteractionResult = NO_INTERACTIONS,
) -> FigureSection:
    """Build the section: importances over all complete trials, then per branch of the space.

    Args:
        overall: `measure_importances` of all complete trials.
        interactions: of the parameters that matter.
    """
    complete = ranked_records(tables)
    rows, n = importance_rows(complete, overall.named), len(complete)
    charts = [LabelledFigure(_chart_label("", rows), draw_importances(rows))] if rows else []
    branch_charts, sentences = _branch_charts(tables) if overall.n_varied else ([], [])
    charts += branch_charts
    return figure_section(
        "importances",
        "Which settings matter",
        _caption(rows, overall, n, [*sentences, interaction_sentence(interactions)]),
        charts,
        _empty_reason(tables, overall, n),
    )


def _caption(
    rows: Sequence[ImportanceRow], overall: ImportanceResult, n: int, branch_notes: Sequence[str]
) -> str:
    any_inactive = any(row.n_active < row.n_complete for row in rows)
    sentences = [
        "Importance of each parameter's value for being among the best trials (PED-ANOVA).",
        _explained_note(rows),
        _unexplained_note(overall),
        "Lighter bars: parameters that were active in some trials only." if any_inactive else "",
        *branch_notes,
        _trial_number_note(n),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def interaction_sentence(interactions: InteractionResult) -> str:
    """Pairs of parameters that act together; "" if no pair was tested."""
    if not interactions.n_pairs:
        return ""
    pairs = count(interactions.n_pairs, "pair")
    if not interactions.named:
        return (
            f"Of {pairs} of these parameters, none explains more together than shuffled values do."
        )
    texts = ", ".join(
        f"{pair.first} with {pair.second} {pair.explained:.0%} ({pair.shuffled:.0%})"
        for pair in interactions.named
    )
    return (
        f"Interactions, of {pairs}, with the share that they explain beyond the single parameters "
        f"and that of shuffled values in brackets: {texts}."
    )


def _branch_charts(tables: StudyTables) -> tuple[list[LabelledFigure], list[str]]:
    """Charts of the branches with an importance above chance, and sentences on the others.

    LEVEL is divided by the number of branches (Bonferroni), so that it holds for all of them
    together: with ten branches at 5 % each, a false finding would be the rule.
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
        # n_varied is 0 where a branch was too small to test, which
        # is not the same as tested without a result.
        elif result.n_varied:
            undecided_names.append(name)
        else:
            small_branches.append(branch)
    sentences = [
        "The further figures show the same within each branch of the space; with fewer than "
        f"{MIN_RELIABLE_TRIALS} trials they are a hint at most."
        if charts
        else "",
        f"No parameter has an importance above chance for {'; '.join(undecided_names)}."
        if undecided_names
        else "",
        _small_branches_note(small_branches),
    ]
    return charts, sentences


def _trial_number_note(n: int) -> str:
    """Note on too few trials, or on more than are used; "" for numbers between."""
    if n < MIN_RELIABLE_TRIALS:
        return f"With {count(n, 'complete trial')} this is a hint at most."
    if n > MAX_IMPORTANCE_TRIALS:
        return f"Computed from {MAX_IMPORTANCE_TRIALS} of {n} complete trials, evenly by rank."
    return ""


def _explained_note(rows: Sequence[ImportanceRow]) -> str:
    """Share of the order that each parameter explains, with that of shuffled values."""
    if not rows:
        return ""
    clearest = sorted(rows, key=lambda row: -row.explained)
    parameter_texts = ", ".join(f"{r.key} {r.explained:.0%} ({r.shuffled:.0%})" for r in clearest)
    return (
        "The figure includes only parameters whose values explain more of the order of the trials "
        "than shuffled values do. Explained share, with the share that shuffled values reach in "
        f"{LEVEL:.0%} of all shuffles in brackets: {parameter_texts}. Each share is of what the "
        "parameters before it leave unexplained."
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
    """Reason for the absence of a figure."""
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
        f" With {count(n, 'complete trial')} only large effects can be detected."
        if n < MIN_RELIABLE_TRIALS
        else ""
    )
    return f"No parameter has an importance above chance: {_unexplained_note(overall)}{hint}"


def _chart_label(branch_text: str, rows: Sequence[ImportanceRow]) -> str:
    clearest = max(rows, key=lambda row: row.explained)
    return (
        f"{clearest.key} explains most of the order of the trials{branch_text}: "
        f"{clearest.explained:.0%}, against {clearest.shuffled:.0%} by shuffled values."
    )


def _small_branches_note(small_branches: Sequence[SpaceBranch]) -> str:
    if not small_branches:
        return ""
    branch_texts = ", ".join(
        f"{branch.key} {truncate(branch.value)} ({len(branch.records)})"
        for branch in small_branches
    )
    return (
        f"A branch needs {MIN_IMPORTANCE_TRIALS} complete trials that differ. Excluded branches, "
        f"with their number of trials: {branch_texts}."
    )


def draw_importances(rows: Sequence[ImportanceRow], title: str = "") -> go.Figure:
    """Draw a bar per parameter, the largest on top; labels count trials if not active in all."""
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
            f"<br>active in {row.n_active} of {row.n_complete} complete trials"
            for row in rows
        ],
        hoverinfo="text",
    )
    labels = [
        escape_markup(row.key)
        + (f" ({row.n_active} of {row.n_complete})" * (row.n_active < row.n_complete))
        for row in rows
    ]
    # Bars are at numbers with tick labels: two names that are equal once shortened stay two bars.
    figure.update_yaxes(autorange="reversed", tickvals=list(range(len(rows))), ticktext=labels)
    # 15 % more than the longest bar, for the label outside of
    # it, which plotly does not reserve space for.
    figure.update_xaxes(range=[0, 1.15 * max((row.share for row in rows), default=1.0)])
    figure.update_layout(showlegend=False)
    if title:
        figure.update_layout(title={"text": escape_markup(title), "font": {"size": 13}, "x": 0})
    return figure
