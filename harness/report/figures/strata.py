"""Figure of the Dice of the leading trials by the size of the foreground."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core.text import count, decision_rule
from harness.report.figures.section import FigureSection, LabelledFigure, figure_section
from harness.report.figures.style import LEADER_COLOURS, empty_figure
from harness.report.tables.missing_data import SCORES, missing_data_note
from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.training.metrics.image_scores import ImageScores, metrics_per_entry, read_scores

SIZE_EDGES = (0.01, 0.05, 0.15)  # shares of the image
SIZE_CLASSES = ("< 1 %", "1–5 %", "5–15 %", "> 15 %")
N_TRIALS = 3
MIN_RELIABLE_IMAGES = 10  # with fewer images a mean is a hint at most


@dataclass(frozen=True)
class SizeStratum:
    """Mean Dice of one trial over the `n` images of one size class; None if n is 0."""

    number: int
    size: str
    dice: float | None
    n: int


def strata_section(tables: StudyTables) -> FigureSection:
    """Build the section with a bar per size class and leading trial."""
    rows = [row for row in dice_by_size(tables) if row.n]
    return figure_section(
        "strata",
        "Dice by object size",
        _caption(tables, rows),
        [LabelledFigure(_chart_label(rows), draw_strata(rows))] if rows else [],
        "Needs a complete trial with best/scores.csv, and foreground in a validation image.",
    )


def _caption(tables: StudyTables, rows: Sequence[SizeStratum]) -> str:
    leader_rows = [row for row in rows if row.number == rows[0].number]
    is_multiclass = tables.config.data.task != "binary"
    small = [f"{row.size} ({row.n})" for row in leader_rows if row.n < MIN_RELIABLE_IMAGES]
    present_sizes = {row.size for row in leader_rows}
    absent = [size for size in SIZE_CLASSES if size not in present_sizes]
    sentences = [
        f"Mean Dice (decision: {decision_rule(tables.config.data.task)}) at "
        f"{tables.config.data.metrics_size_text} over validation images, by the share of the "
        "image that is foreground.",
        "Each class of an image counts separately." if is_multiclass else "",
        f"Fewer than {MIN_RELIABLE_IMAGES} images, so a hint at most: {', '.join(small)}."
        if small
        else "",
        f"Sizes without an image: {', '.join(absent)}." if absent and rows else "",
        missing_data_note(tables, _trials_without_scores(tables), SCORES),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def draw_strata(rows: Sequence[SizeStratum]) -> go.Figure:
    """Draw a group of bars per size class, one bar per trial."""
    figure = empty_figure(
        "foreground share of the image (%)", "mean Dice<br>(0 to 1, higher is better)",
        height=330,
    )  # fmt: skip
    numbers = list(dict.fromkeys(row.number for row in rows))
    for number, colour in zip(numbers, LEADER_COLOURS, strict=False):
        _add_bars(figure, number, [row for row in rows if row.number == number], colour)
    figure.update_layout(barmode="group")
    present_sizes = {row.size for row in rows}
    # Plotly orders categories by their first appearance, which is not the order of the sizes if the
    # leading trial has no image of one of them.
    figure.update_xaxes(type="category", categoryorder="array")
    figure.update_xaxes(categoryarray=[size for size in SIZE_CLASSES if size in present_sizes])
    # The range ends above 1 to leave room for the labels of full bars.
    figure.update_yaxes(range=[0, 1.12], tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1])
    return figure


def _add_bars(figure: go.Figure, number: int, rows: Sequence[SizeStratum], colour: str) -> None:
    """Add the bars of one trial."""
    figure.add_bar(
        x=[row.size for row in rows],
        y=[row.dice for row in rows],
        name=f"trial {number}",
        marker={"color": colour},
        text=[f"{row.dice:.2f}<br>n {row.n}" for row in rows],
        textposition="outside",
        cliponaxis=False,
        hovertext=[
            f"trial {number}, {row.size}<br>mean Dice {row.dice:.4f}<br>{count(row.n, 'image')}"
            for row in rows
        ],
        hoverinfo="text",
    )


def _chart_label(rows: Sequence[SizeStratum]) -> str:
    leader_rows = [row for row in rows if row.number == rows[0].number and row.dice is not None]
    worst = min(leader_rows, key=lambda row: row.dice or 0.0)
    best = max(leader_rows, key=lambda row: row.dice or 0.0)
    name = f"Trial {worst.number}"
    if worst is best:
        return f"{name} has a mean Dice of {best.dice:.2f}; all objects are of one size class."
    return (
        f"{name} has its lowest mean Dice, {worst.dice:.2f}, where the foreground covers "
        f"{worst.size} of the image ({count(worst.n, 'image')}), and its highest, {best.dice:.2f}, "
        f"at {best.size} ({count(best.n, 'image')})."
    )


def _trials_without_scores(tables: StudyTables) -> list[int]:
    leading = [record.number for record in ranked_records(tables)[:N_TRIALS]]
    return [number for number in leading if not tables.paths.trial(number).scores_csv.is_file()]


def dice_by_size(tables: StudyTables) -> list[SizeStratum]:
    """Mean Dice of the leading trials with scores.csv, best first, for every size class.

    The size is Σy over the pixels of the image, the share of it that its class covers. Images
    without foreground are in no stratum. With several classes, an image counts once per class in
    its mask.
    """
    rows: list[SizeStratum] = []
    for record in ranked_records(tables)[:N_TRIALS]:
        path = tables.paths.trial(record.number).scores_csv
        if path.is_file():
            rows += _trial_strata(record.number, read_scores(path), tables.config.data)
    return rows


def _trial_strata(number: int, scores: ImageScores, data: StudyDataConfig) -> list[SizeStratum]:
    dice = metrics_per_entry(scores)["dice"][scores.has_truth]
    pixels: NDArray[np.float64] = np.full(len(scores), float(data.eval_size**2))
    if data.metrics_at == "native":  # images differ in size; ignored pixels are not counted
        pixels = (scores.tp + scores.fp + scores.fn + scores.tn).astype(np.float64)
    sizes = size_class_index((scores.sum_y / pixels)[scores.has_truth])
    rows = []
    for index, name in enumerate(SIZE_CLASSES):
        class_dice = dice[sizes == index]
        mean = float(class_dice.mean()) if class_dice.size else None
        rows.append(SizeStratum(number, name, mean, int(class_dice.size)))
    return rows


def size_class_index(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index into SIZE_CLASSES of each share; a share on an edge belongs to the larger class."""
    return np.asarray(np.searchsorted(SIZE_EDGES, shares, side="right"), np.int64)
