"""Colours, axes and texts that all figures share."""

import html
import math
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from harness.config.study import StudyConfig

# After Okabe and Ito, readable for colour-blind people; tones that hold on a light and a dark page.
BLUE, ORANGE, GREEN = "#2b83c9", "#e08e00", "#0f9b74"
PURPLE, SKY, RED = "#c46a9b", "#4aa8dd", "#d6602a"
GREY = "rgba(128,128,128,0.6)"
GRID_COLOUR = "rgba(128,128,128,0.22)"
LEADER_COLOURS = (ORANGE, GREEN, PURPLE)  # the leading trials, by rank, in every figure


@dataclass(frozen=True)
class ObjectiveLabel:
    """The objective metric as figures name it.

    Attributes:
        bounded: whether it lies in 0 to 1, as all of ours do.
    """

    metric: str
    minimized: bool
    bounded: bool = True

    @classmethod
    def from_config(cls, config: StudyConfig) -> "ObjectiveLabel":
        """That of a study."""
        settings = config.objective
        return cls(settings.metric, settings.direction == "minimize", settings.is_builtin)

    @property
    def direction_text(self) -> str:
        return f"{'lower' if self.minimized else 'higher'} is better"

    @property
    def title(self) -> str:
        return f"{self.metric}<br>({'0 to 1, ' if self.bounded else ''}{self.direction_text})"


def empty_figure(x_title: str, y_title: str, *, height: int = 380) -> go.Figure:
    """A figure without traces and without a background, so that it suits light and dark pages."""
    figure = go.Figure()
    figure.update_layout(
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
    """The text shown over a point of one trial."""
    return f"trial {number} ({escape_markup(note)})<br>{objective.metric} {value:.5f}"


def escape_markup(text: str) -> str:
    """Plotly reads a little HTML in every text; what others wrote must not be taken for it."""
    return html.escape(text, quote=False)


def is_finite_number(value: Any) -> bool:
    """Whether it is a number that can be drawn."""
    return isinstance(value, int | float) and math.isfinite(value)
