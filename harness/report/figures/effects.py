"""What one choice changes with everything else held equal."""

import plotly.graph_objects as go

from harness.report.effects import Effects, verdict
from harness.report.figures.style import BLUE, GREEN, GREY, ORANGE, Objective, empty_figure, safe
from harness.wording import count

COLOURS = {"better": GREEN, "worse": ORANGE, "no difference shown": BLUE}


def draw_effects(found: Effects, what: str, objective: Objective) -> go.Figure:
    """A point with its interval for each level, and a line at no difference."""
    figure = empty_figure(
        f"{objective.metric} at {safe(found.reference)} minus that at the other, all else equal"
        f"<br>({objective.better})",
        f"{safe(what)} compared with",
        height=190 + 45 * len(found.found),
    )
    figure.add_vline(x=0, line={"color": GREY, "dash": "dash"})
    for place, one in enumerate(found.found):
        said = verdict(one, minimized=objective.minimized)
        figure.add_scatter(
            x=[one.difference],
            y=[place],
            mode="markers",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [one.high - one.difference],
                "arrayminus": [one.difference - one.low],
            },
            marker={"color": COLOURS[said], "size": 10},
            hovertext=f"{safe(found.reference)} against {safe(one.level)}: {said}"
            f"<br>{one.difference:+.5f} ({one.low:+.5f} to {one.high:+.5f})"
            f"<br>{found.n_reference} and {one.n} complete trials",
            hoverinfo="text",
        )
    labels = [f"{safe(one.level)} ({count(one.n, 'trial')})" for one in found.found]
    figure.update_yaxes(tickvals=list(range(len(labels))), ticktext=labels)
    figure.update_yaxes(range=[-0.6, len(labels) - 0.4])
    figure.update_layout(showlegend=False)
    return figure
