"""Colours, axes and texts of all figures."""

import html
import math
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from harness.config.study import StudyConfig

# After Okabe and Ito 2008 (Color universal design): distinguishable with colour blindness, in tones
# with enough contrast on light and dark pages.
BLUE, ORANGE, GREEN = "#2b83c9", "#e08e00", "#0f9b74"
PURPLE, SKY, RED = "#c46a9b", "#4aa8dd", "#d6602a"
GREY = "rgba(128,128,128,0.85)"  # a contrast of 3 on light and on dark pages
GRID_COLOUR = "rgba(128,128,128,0.22)"
LEADER_COLOURS = (ORANGE, GREEN, PURPLE)  # the leading trials, by rank, in every figure


@dataclass(frozen=True)
class ObjectiveLabel:
    """Objective metric as figures label it.

    Attributes:
        bounded: True if its values are in [0, 1], as those of all built-in metrics are.
    """

    metric: str
    minimized: bool
    bounded: bool = True

    @classmethod
    def from_config(cls, config: StudyConfig) -> "ObjectiveLabel":
        """Label of a study's objective."""
        settings = config.objective
        return cls(settings.metric, settings.minimized, settings.is_builtin)

    @property
    def direction_text(self) -> str:
        return f"{'lower' if self.minimized else 'higher'} is better"

    @property
    def title(self) -> str:
        return f"{self.metric}<br>({'0 to 1, ' if self.bounded else ''}{self.direction_text})"


def empty_figure(x_title: str, y_title: str, *, height: int = 380) -> go.Figure:
    """Create a figure without traces and with a transparent background for light and dark pages."""
    figure = go.Figure()
    figure.update_layout(
        # Without an empty template Plotly adds its own to every figure, with a background and text
        # colours that do not follow the page.
        template=go.layout.Template(),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        height=height,
        margin={"l": 66, "r": 18, "t": 30, "b": 50},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
        hovermode="closest",
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    axis = {"gridcolor": GRID_COLOUR, "linecolor": GREY, "zeroline": False, "automargin": True}
    small = {"size": 12}
    figure.update_xaxes(title={"text": x_title, "font": small, "standoff": 8}, **axis)
    figure.update_yaxes(title={"text": y_title, "font": small, "standoff": 8}, **axis)
    return figure


def hover_text(number: int, objective: ObjectiveLabel, value: float, note: str) -> str:
    """Hover text of a point of one trial."""
    return f"trial {number} ({escape_markup(note)})<br>{objective.metric} {value:.5f}"


def escape_markup(text: str) -> str:
    """Escape text from users: Plotly interprets a subset of HTML, links included, in every text."""
    return html.escape(text, quote=False)


def is_finite_number(value: Any) -> bool:
    """True for a finite number, which can be drawn."""
    return isinstance(value, int | float) and math.isfinite(value)
