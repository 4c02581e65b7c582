"""One self-contained page about several studies."""

import json
from collections.abc import Sequence
from pathlib import Path

from plotly.offline import get_plotlyjs

from harness.core import files, html
from harness.report.analysis.study_comparison import RESULT_COLUMNS, StudyComparison
from harness.report.figures.study_curves import (
    best_lines,
    draw_study_lines,
    leading_lines,
    lines_sentence,
)
from harness.report.figures.style import ObjectiveLabel
from harness.report.page.page import content_security_policy, script_json
from harness.report.tables.study_tables import StudyTables

_PACKAGE = "harness.report.comparison"


def write_comparison(
    comparison: StudyComparison, studies: Sequence[StudyTables], target: Path
) -> None:
    """Write the page atomically."""
    files.write_text(target, render_comparison(comparison, studies))


def render_comparison(comparison: StudyComparison, studies: Sequence[StudyTables]) -> str:
    """Render the page as text.

    Figures show the studies that have the objective of the first one, since others have another
    axis; a sentence names those that are left out.
    """
    objective = studies[0].config.objective
    drawn = [tables for tables in studies if tables.config.objective == objective]
    left_out = [tables.paths.name for tables in studies if tables not in drawn]
    label = ObjectiveLabel.from_config(studies[0].config)
    charts = [
        (
            title,
            lines_sentence(lines, label),
            draw_study_lines(lines, comparison.names, x_title, label),
        )
        for title, x_title, lines in (
            ("Best value so far", "complete trials", best_lines(drawn)),
            ("Learning curves of the leading trials", "epoch", leading_lines(drawn)),
        )
        if lines
    ]
    scripts = [get_plotlyjs(), html.read_resource(_PACKAGE, "page.js")]
    return html.render(
        _PACKAGE,
        {},
        names=comparison.names,
        result_columns=(*RESULT_COLUMNS, "question"),
        comparison=comparison,
        charts=[(title, sentence) for title, sentence, _ in charts],
        left_out=left_out,
        metric=objective.metric,
        figures=script_json([json.loads(figure.to_json()) for *_, figure in charts]),
        policy=content_security_policy(scripts),
        scripts=scripts,
    )
