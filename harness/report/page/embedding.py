"""What stands between the script tags of the page, and the policy that lets nothing else run."""

import base64
import hashlib
import json
from typing import Any

from harness.core import html
from harness.report.figures.section import FigureSection
from harness.report.tables.downsample import downsample_trials
from harness.report.tables.study_tables import StudyTables, ranked_records


def study_page_data(tables: StudyTables) -> dict[str, Any]:
    """What the page carries for other programs: every number as the float64 that was recorded.

    Of a large study the trials that its figures draw; `n_trials` counts all.
    """
    drawn_numbers = downsample_trials(tables).numbers
    return {
        "study": tables.paths.name,
        "objective": tables.config.objective.model_dump(mode="json"),
        "n_trials": len(tables.records),
        "ranking": [record.number for record in ranked_records(tables)],
        "trials": [
            record.model_dump(
                mode="json",
                include={
                    "number",
                    "state",
                    "value",
                    "best_epoch",
                    "params",
                    "best",
                    "costs",
                    "seed",
                    "epochs",
                    "repeats",
                    "imported",
                },
            )
            for record in tables.records
            if record.number in drawn_numbers
        ],
    }


def figure_data(figures: list[FigureSection]) -> list[dict[str, Any]]:
    """Plotly's JSON of each figure, in the order of the page."""
    charts = [chart for section in figures for chart in section.charts]
    return [json.loads(chart.figure.to_json()) for chart in charts]


def content_security_policy(scripts: list[str]) -> str:
    """Nothing may be fetched, and no script runs but the ones the page was written with."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    # Plotly sets styles as it draws, which only 'unsafe-inline' allows; pictures are data addresses
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; {html.SELF_CONTAINED_POLICY}"
    )


def script_json(value: Any) -> str:
    """JSON that can stand between script tags: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
