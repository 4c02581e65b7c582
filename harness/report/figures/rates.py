"""The curve of a learning-rate range test, as a page of its own."""

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from harness.report.figures.style import BLUE, GREEN, GREY, ORANGE, empty_figure

Point = tuple[int, float, float, float]  # step (from 1), rate, loss, smoothed loss


def draw_rates(points: Sequence[Point], marks: Mapping[str, float]) -> go.Figure:
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
    figure.update_yaxes(range=_around_the_fall([mean for *_, mean in points]))
    figure.update_layout(height=480)
    return figure


def _around_the_fall(smoothed: Sequence[float]) -> list[float] | None:
    """A range of losses in which the fall can be seen; the divergence may leave it at the top.

    A double click on the figure shows all. None: nothing has fallen, so all is shown.
    """
    fall = smoothed[0] - min(smoothed)
    return [min(smoothed) - fall, smoothed[0] + fall] if fall > 0 else None


def rates_page(title: str, lines: Sequence[str], figure: go.Figure) -> str:
    """A page that needs nothing else: title, lines of text, and the figure."""
    # Plotly sets styles as it draws; scripts stand in the page, and nothing may be fetched.
    policy = (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    text = "\n".join(f"<p>{html.escape(line)}</p>" for line in lines)
    drawing = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displayModeBar": False}
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>
<style>body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2em auto;
padding: 0 1em; color-scheme: light dark }}</style>
<script>{get_plotlyjs()}</script></head>
<body><h1>{html.escape(title)}</h1>
{text}
{drawing}</body></html>
"""
