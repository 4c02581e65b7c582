"""Which parameters decided whether a trial was among the best."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from harness.report.figures.style import BLUE, SKY, empty_figure, safe
from harness.report.tables import StudyTables, importances, ranked_records


@dataclass(frozen=True)
class ImportanceRow:
    """A parameter's share, and in how many of the complete trials it was in force."""

    key: str
    share: float
    in_force: int
    complete: int


def importance_rows(tables: StudyTables) -> list[ImportanceRow]:
    """Largest share first; [] where there are too few trials to tell."""
    complete = ranked_records(tables)
    return [
        ImportanceRow(key, share, sum(key in record.params for record in complete), len(complete))
        for key, share in importances(tables).items()
    ]


def draw_importances(rows: Sequence[ImportanceRow]) -> go.Figure:
    """Bars, the largest on top; a parameter that was not always in force says so."""
    figure = empty_figure("share (no unit; all add up to 1)", "", height=110 + 30 * len(rows))
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
    return figure
