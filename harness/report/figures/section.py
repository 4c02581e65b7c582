"""Section of the page: figures with a title, a caption and a shared legend."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True)
class LabelledFigure:
    """Figure with one computed sentence that says what it shows, also for screen readers."""

    label: str
    figure: go.Figure
    min_width_px: int | None = None


@dataclass(frozen=True)
class LegendEntry:
    """Entry of a legend that several figures share."""

    name: str
    symbol: str
    colour: str


@dataclass(frozen=True)
class FigureSection:
    """Figures under one heading.

    Attributes:
        layout: `one` per row, `small` ones side by side, or `wide`, which scrolls on a phone.
        empty: reason for the absence of a figure; "" if there is one.
    """

    anchor: str
    title: str
    caption: str
    charts: tuple[LabelledFigure, ...]
    layout: str
    empty: str
    legend: tuple[LegendEntry, ...] = ()

    @property
    def gist(self) -> str:
        """The sentence of the first figure, which stands beside the folded heading."""
        return self.charts[0].label if self.charts else self.empty


def figure_section(
    anchor: str,
    title: str,
    caption: str,
    charts: Sequence[LabelledFigure],
    empty: str,
    layout: str = "one",
) -> FigureSection:
    """Build a section; `empty` is used only if there is no figure."""
    return FigureSection(
        anchor, title, caption.strip(), tuple(charts), layout, "" if charts else empty
    )
