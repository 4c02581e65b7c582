"""What a section of the page is made of: figures, their words, and a legend they may share."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True)
class LabelledFigure:
    """A figure and what it shows in words, for those who cannot see it."""

    label: str
    figure: go.Figure
    min_width_px: int | None = None


@dataclass(frozen=True)
class LegendEntry:
    """An entry of a legend that several figures share."""

    name: str
    symbol: str
    colour: str


@dataclass(frozen=True)
class FigureSection:
    """Figures that belong together.

    Attributes:
        layout: `one` below the other, `small` ones side by side, `wide` scrolls on a phone.
        empty: why there is no figure; "" where there is one.
    """

    anchor: str
    title: str
    caption: str
    charts: tuple[LabelledFigure, ...]
    layout: str
    empty: str
    legend: tuple[LegendEntry, ...] = ()


def figure_section(
    anchor: str,
    title: str,
    caption: str,
    charts: Sequence[LabelledFigure],
    empty: str,
    layout: str = "one",
) -> FigureSection:
    """A section; `empty` is kept only where there is no figure."""
    return FigureSection(
        anchor, title, caption.strip(), tuple(charts), layout, "" if charts else empty
    )
