"""Figure and files of a learning-rate range test.

A module of its own because `harness lr-find` needs it without the page of a report.
"""

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
    """Draw training loss over learning rate, with a line at each marked rate."""
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
        # A vertical line has no legend entry, so an empty trace of the same style provides it.
        figure.add_vline(x=rate, line={"color": colour, "dash": "dash"})
        figure.add_scatter(
            x=[rate], y=[None], mode="lines", line={"color": colour, "dash": "dash"},
            name=f"{name} {rate:.1e}",
        )  # fmt: skip
    figure.update_xaxes(type="log", exponentformat="power", dtick=1)  # on a log axis 1 is a decade
    figure.update_yaxes(range=_loss_axis_range([mean for *_, mean in points]))
    figure.update_layout(height=480)
    return figure


def _loss_axis_range(smoothed: Sequence[float]) -> list[float] | None:
    """Range of the loss axis in which the decrease is visible.

    The loss diverges at the end of the test, often by orders of magnitude, and would flatten the
    rest of the curve; a double click on the figure shows all of it. None if the loss never fell.
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
    """Write curve.html, points.csv and config.yaml, each atomically.

    Args:
        marks: rates that the figure marks, by name.
        facts: lines of text above the figure.
        settings: nested trial configuration.
    """
    files.write_text(paths.config_yaml, strict_yaml.dump_yaml(dict(settings)))
    files.write_text(paths.points_csv, points_csv(points))
    page = figure_page("Learning-rate range test", facts, draw_lr_test(points, marks))
    files.write_text(paths.page, page)


def points_csv(points: Sequence[LrTestPoint]) -> str:
    """Encode the points as CSV with every digit."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(POINT_COLUMNS)
    rows.writerows(points)
    return text.getvalue()
