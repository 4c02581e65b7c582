"""Figure of the effect of one choice, with everything else equal.

Used by a script of `analysis/`, outside the package.
"""

import plotly.graph_objects as go

from harness.core.text import count
from harness.report.analysis.effects import EffectTable, effect_verdict
from harness.report.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    ObjectiveLabel,
    empty_figure,
    escape_markup,
)

VERDICT_COLOURS = {"better": GREEN, "worse": ORANGE, "no difference shown": BLUE}


def draw_effects(table: EffectTable, choice_name: str, objective: ObjectiveLabel) -> go.Figure:
    """Draw the difference to each level with its interval, and a line at no difference."""
    figure = empty_figure(
        f"{objective.metric} at {escape_markup(table.reference)} minus that at the other, all "
        "else equal"
        f"<br>({objective.direction_text})",
        f"{escape_markup(choice_name)} compared with",
        height=190 + 45 * len(table.effects),  # pixels: axes and title, then one row per level
    )
    figure.add_vline(x=0, line={"color": GREY, "dash": "dash"})
    for position, effect in enumerate(table.effects):
        outcome = effect_verdict(effect, minimized=objective.minimized)
        figure.add_scatter(
            x=[effect.difference],
            y=[position],
            mode="markers",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [effect.high - effect.difference],
                "arrayminus": [effect.difference - effect.low],
            },
            marker={"color": VERDICT_COLOURS[outcome], "size": 10},
            hovertext=(
                f"{escape_markup(table.reference)} against {escape_markup(effect.level)}: "
                f"{outcome}"
                f"<br>{effect.difference:+.5f} ({effect.low:+.5f} to {effect.high:+.5f})"
                f"<br>{table.n_reference} and {effect.n} complete trials"
            ),
            hoverinfo="text",
        )
    labels = [
        f"{escape_markup(effect.level)} ({count(effect.n, 'trial')})" for effect in table.effects
    ]
    figure.update_yaxes(tickvals=list(range(len(labels))), ticktext=labels)
    figure.update_yaxes(range=[-0.6, len(labels) - 0.4])
    figure.update_layout(showlegend=False)
    return figure
