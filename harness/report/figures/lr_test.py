"""The curve of a learning-rate range test."""

import csv
import io
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from harness.core import files, strict_yaml
from harness.core.paths import LrFindPaths
from harness.report.figures.standalone import figure_page
from harness.report.figures.style import BLUE, GREEN, GREY, ORANGE, empty_figure

LrTestPoint = tuple[int, float, float, float]  # step (from 1), rate, loss, smoothed loss


def draw_lr_test(points: Sequence[LrTestPoint], marks: Mapping[str, float]) -> go.Figure:
    """Training loss over the rate, and a line at each marked rate."""
    figure = empty_figure("learning rate (logarithmic)", "training loss (lower is better)")
    rates = [rate for _, rate, _, _ in points]
    raw = {"color": GREY, "size": 5}
    figure.add_scatter(
        x=rates, y=[loss for *_, loss, _ in points], mode="markers", marker=raw, name="each step"
    )
    line = {"color": BLUE, "width": 2.5}
    figure.add_scatter(
        x=rates, y=[mean for *_, mean in points], mode="lines", line=line, name="smoothed"
    )
    for (name, rate), colour in zip(marks.items(), (ORANGE, GREEN, GREY), strict=False):
        figure.add_vline(x=rate, line={"color": colour, "dash": "dash"})
        figure.add_scatter(
            x=[rate], y=[None], mode="lines", line={"color": colour, "dash": "dash"},
            name=f"{name} {rate:.1e}",
        )  # fmt: skip
    figure.update_xaxes(type="log", exponentformat="power", dtick=1)
    figure.update_yaxes(range=_loss_axis_range([mean for *_, mean in points]))
    figure.update_layout(height=480)
    return figure


def _loss_axis_range(smoothed: Sequence[float]) -> list[float] | None:
    """A range of losses in which the fall can be seen; the divergence may leave it at the top.

    A double click on the figure shows all. None: nothing has fallen, so all is shown.
    """
    loss_drop = smoothed[0] - min(smoothed)
    return [min(smoothed) - loss_drop, smoothed[0] + loss_drop] if loss_drop > 0 else None


POINT_COLUMNS = ("step", "lr", "loss", "smoothed")


def write_lr_test(
    paths: LrFindPaths,
    points: Sequence[LrTestPoint],
    marks: Mapping[str, float],
    facts: Sequence[str],
    settings: Mapping[str, object],
) -> None:
    """Write curve.html, points.csv and config.yaml, each whole or not at all.

    Args:
        marks: rates that the figure points out, by name.
        facts: what stands above the figure, a line each.
        settings: the trial configuration, nested.
    """
    files.write_text(paths.config_yaml, strict_yaml.dump_yaml(dict(settings)))
    files.write_text(paths.points_csv, points_csv(points))
    page = figure_page("Learning-rate range test", facts, draw_lr_test(points, marks))
    files.write_text(paths.page, page)


def points_csv(points: Sequence[LrTestPoint]) -> str:
    """The points as CSV, every number as it was computed."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(POINT_COLUMNS)
    rows.writerows(points)
    return text.getvalue()
