"""What a section of the page is made of: figures, their words, and a legend they may share."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True)
class Chart:
    """A figure and what it shows in words, for those who cannot see it."""

    label: str
    figure: go.Figure
    min_width_px: int | None = None


@dataclass(frozen=True)
class Mark:
    """An entry of a legend that several figures share."""

    name: str
    symbol: str
    colour: str


@dataclass(frozen=True)
class Section:
    """Figures that belong together.

    Attributes:
        layout: `one` below the other, `small` ones side by side, `wide` scrolls on a phone.
        empty: why there is no figure; "" where there is one.
    """

    anchor: str
    title: str
    caption: str
    charts: tuple[Chart, ...]
    layout: str
    empty: str
    legend: tuple[Mark, ...] = ()


def section(
    anchor: str, title: str, caption: str, charts: Sequence[Chart], empty: str, layout: str = "one"
) -> Section:
    """A section; `empty` is kept only where there is no figure."""
    return Section(anchor, title, caption.strip(), tuple(charts), layout, "" if charts else empty)
