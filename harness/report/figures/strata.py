"""Dice of the leading trials by the size of what is to be found."""

from collections.abc import Sequence

import plotly.graph_objects as go

from harness.report.figures.chart import Chart, Section, section
from harness.report.figures.style import LEADERS, empty_figure
from harness.report.left_out import SCORES, left_out
from harness.report.strata import CLASSES, N_TRIALS, Stratum, strata
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import count, decides

FEW = 10  # images below which a mean is a hint at most


def strata_section(tables: StudyTables) -> Section:
    """Bars for each class of size, a bar for each leading trial."""
    rows = [row for row in strata(tables) if row.n]
    first = [row for row in rows if row.number == rows[0].number]
    several = tables.config.data.task != "binary"
    few = [f"{row.size} ({row.n})" for row in first if row.n < FEW]
    absent = [size for size in CLASSES if size not in {row.size for row in first}]
    words = [
        f"Mean Dice ({decides(tables.config.data.task)} decides) at "
        f"{tables.config.data.eval_size} px over validation images, by the share of "
        "the image that is to be found.",
        "Each class of an image counts by itself." if several else "",
        f"Fewer than {FEW} images, a hint at most: {', '.join(few)}." if few else "",
        f"No image: {', '.join(absent)}." if absent and rows else "",
        left_out(tables, _without_scores(tables), SCORES),
    ]
    return section(
        "strata",
        "By object size",
        " ".join(word for word in words if word),
        [Chart(_label(rows), draw_strata(rows))] if rows else [],
        "Needs a complete trial that kept best/scores.csv, with an object in a validation image.",
    )


def _without_scores(tables: StudyTables) -> list[int]:
    some = [record.number for record in ranked_records(tables)[:N_TRIALS]]
    return [number for number in some if not tables.paths.trial(number).scores_csv.is_file()]


def _label(rows: Sequence[Stratum]) -> str:
    each = ", ".join(
        f"trial {row.number} {row.size}: {row.dice:.3f} ({count(row.n, 'image')})" for row in rows
    )
    return f"Dice by object size: {each}"


def draw_strata(rows: Sequence[Stratum]) -> go.Figure:
    """Groups of bars, as many as there are sizes."""
    figure = empty_figure(
        "share of the image that is to be found (%)", "mean Dice<br>(0 to 1, higher is better)",
        height=330,
    )  # fmt: skip
    numbers = list(dict.fromkeys(row.number for row in rows))
    for number, colour in zip(numbers, LEADERS, strict=False):
        some = [row for row in rows if row.number == number]
        figure.add_bar(
            x=[row.size for row in some],
            y=[row.dice for row in some],
            name=f"trial {number}",
            marker={"color": colour},
            text=[f"{row.dice:.2f}<br>n {row.n}" for row in some],
            textposition="outside",
            cliponaxis=False,
            hovertext=[
                f"trial {number}, {row.size}<br>mean Dice {row.dice:.4f}<br>{count(row.n, 'image')}"
                for row in some
            ],
            hoverinfo="text",
        )
    figure.update_layout(barmode="group")
    met = {row.size for row in rows}
    figure.update_xaxes(type="category", categoryorder="array")
    figure.update_xaxes(categoryarray=[size for size in CLASSES if size in met])
    figure.update_yaxes(range=[0, 1.12], tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1])
    return figure
