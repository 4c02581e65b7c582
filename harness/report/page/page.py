"""Write `report.html`: one self-contained file that needs no network and no other file."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from harness.core import files, html
from harness.core.paths import StudyPaths
from harness.data.files.encode import data_uri
from harness.data.files.overlay import OUTLINE_COLOURS
from harness.data.splits.splits import SplitRow, read_split
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.results import Confirmation
from harness.report.analysis.baseline import BaselineComparison, compare_with_baseline
from harness.report.analysis.caveats import find_caveats
from harness.report.analysis.paired_leaders import build_leaderboard_comparison
from harness.report.figures.all_sections import report_sections
from harness.report.figures.section import FigureSection
from harness.report.page.answer import asked_text, build_answer, default_question
from harness.report.page.best_configuration import configuration_forms
from harness.report.page.class_views import build_class_view
from harness.report.page.confirmation import build_confirmation_section
from harness.report.page.data_facts import collect_data_facts
from harness.report.page.failures import failures_sheet
from harness.report.page.headline import (
    ConfirmationSummary,
    SummaryLine,
    next_step,
    summary_lines,
)
from harness.report.page.held_out_section import HeldOutSection, build_held_out_section
from harness.report.page.methods import build_methods_paragraph
from harness.report.page.object_sizes import collect_object_tables
from harness.report.page.reproduction import (
    definition_facts,
    environment_facts,
    pip_requirements,
    repeat_study_name,
    reproduction_command,
    settings_outside_command,
)
from harness.report.page.training_sizes import training_size_values
from harness.report.predictions.gallery import PredictionGallery, build_gallery
from harness.report.predictions.image_selection import N_GRADED
from harness.report.predictions.panels import (
    hex_colour,
    overlay_description,
    overlay_legend,
    probability_scale,
)
from harness.report.tables.class_sheet import class_sheet
from harness.report.tables.downsample import downsample_trials
from harness.report.tables.sheets import failed_sheet, ranking_sheet, unranked_sheet
from harness.report.tables.study_tables import (
    StudyTables,
    load_study_tables,
    ranked_records,
    write_trials_csv,
)

SCRIPTS = ("page.js", "zoom.js", "trial.js")
N_OPEN_IMAGES = N_GRADED  # of the gallery; further ones are folded
# Fields of a trial record in the machine-readable data of the page.
_PAGE_FIELDS = {
    *("number", "state", "value", "best_epoch", "params", "best", "costs", "seed", "epochs"),
    *("repeats", "second_chance", "imported"),
}


def write_report(
    paths: StudyPaths,
    data_root: Path | None,
    *,
    images: bool = True,
    baseline: StudyPaths | None = None,
) -> Path:
    """Write `report.html` and `trials.csv`, each atomically.

    Args:
        data_root: folder that the paths of split.csv start from; None if it is not on this machine,
            then the page has no sample predictions and says so.
        images: include sample predictions.
        baseline: a study whose leading trial is compared with the leading trial of this one.

    Returns:
        The path of report.html.

    Raises:
        ConfigError, DataError: a file of the study is invalid, or the baseline cannot be compared
            with it; nothing is written then.
    """
    # Everything that can fail comes before the first write, so that an error leaves the previous
    # report and its trials.csv together.
    tables = load_study_tables(paths)
    baseline_comparison = (
        compare_with_baseline(tables, load_study_tables(baseline)) if baseline is not None else None
    )
    confirmation = load_confirmation(paths)
    if images:
        gallery = build_gallery(tables, data_root, confirmation)
    else:
        gallery = PredictionGallery((), ("Sample predictions were left out of this report.",))
    page = render_report_page(tables, gallery, data_root, baseline_comparison, confirmation)
    write_trials_csv(tables, paths.trials_csv)
    files.write_text(paths.report_html, page)
    return paths.report_html


def render_report_page(
    tables: StudyTables,
    gallery: PredictionGallery,
    data_root: Path | None = None,
    baseline_comparison: BaselineComparison | None = None,
    confirmation: Confirmation | None = None,
) -> str:
    """Render the page as text; arguments as in `write_report` and `build_gallery`."""
    split = read_split(tables.paths.split_csv) if tables.paths.split_csv.is_file() else []
    # Figures come first: the confirmation needs to know how many precede its own.
    progress, *figures = report_sections(tables)
    confirmed = build_confirmation_section(tables, confirmation, [progress, *figures])
    held_out = build_held_out_section(tables.paths, split, images=bool(gallery.images))
    return html.render(
        "harness.report.page",
        {"data_uri": data_uri},
        name=tables.paths.name,
        objective=tables.config.objective,
        task=tables.config.data.task,
        progress=progress,
        sections=figures,
        confirmation=confirmed,
        test=held_out,
        **_header_values(tables, split, confirmation, held_out, baseline_comparison),
        **_trial_values(tables, confirmed.choice),
        **_gallery_values(tables, gallery),
        class_view=build_class_view(tables, gallery),
        **_study_values(tables, split, data_root),
        object_tables=collect_object_tables(tables, gallery, confirmation),
        **training_size_values(tables, confirmed.choice),
        data_facts=collect_data_facts(tables, split, data_root, gallery.shapes),
        methods=build_methods_paragraph(tables, split, data_root),
        **_embedded_values(tables, [progress, *figures, confirmed.section]),
    )


def _header_values(
    tables: StudyTables,
    split: list[SplitRow],
    confirmation: Confirmation | None,
    held_out: HeldOutSection,
    baseline_comparison: BaselineComparison | None,
) -> dict[str, Any]:
    """Values of the template for what was asked, the answer and the lines below it."""
    is_decided = confirmation is not None and confirmation.decision is not None
    summary = ConfirmationSummary(held_out.n_test_runs) if is_decided else None
    baseline_lines = (
        []
        if baseline_comparison is None
        else [SummaryLine("Baseline", baseline_comparison.sentence)]
    )
    return {
        "question": tables.config.question or default_question(tables),
        "asked": asked_text(tables, split),
        "answer": build_answer(tables, confirmation, held_out.ledger),
        "next_step": next_step(tables, split, summary),
        "caveats": find_caveats(tables),
        "summary_lines": [*summary_lines(tables, split, summary), *baseline_lines],
    }


def _trial_values(tables: StudyTables, choice: int | None) -> dict[str, Any]:
    """Values of the template for the tables of trials and the best configuration."""
    ranked = ranked_records(tables)
    return {
        "comparison": build_leaderboard_comparison(tables, ranking_sheet(tables)),
        "pruned": unranked_sheet(tables, "pruned"),
        "running": unranked_sheet(tables, "running"),
        "failed": failed_sheet(tables),
        "failures": failures_sheet(tables),
        "classes": class_sheet(tables),
        "best": configuration_forms(tables, choice),
        "best_number": choice if choice is not None else ranked[0].number if ranked else None,
    }


def _gallery_values(tables: StudyTables, gallery: PredictionGallery) -> dict[str, Any]:
    return {
        "gallery": gallery,
        "n_open": N_OPEN_IMAGES,
        "overlay_text": overlay_description(tables.config.data),
        "legend": {name: hex_colour(rgb) for name, rgb in overlay_legend(tables.config.data)},
        "outline_legend": {name: hex_colour(rgb) for name, rgb in OUTLINE_COLOURS.items()},
        "scale": [hex_colour(rgb) for rgb in probability_scale()],
    }


def _study_values(
    tables: StudyTables, split: list[SplitRow], data_root: Path | None
) -> dict[str, Any]:
    """Values of the template for the definition of the study and its reproduction."""
    return {
        "definition": definition_facts(tables, split, data_root),
        "environment": environment_facts(tables),
        "requirements": pip_requirements(tables),
        "study_yaml": tables.paths.study_yaml.read_text(encoding="utf-8"),
        "space_yaml": _read_text_if_present(tables.paths.space_yaml),
        "command": reproduction_command(tables),
        "repeat_name": repeat_study_name(tables),
        "outside_settings": settings_outside_command(tables),
    }


def _embedded_values(tables: StudyTables, figures: list[FigureSection]) -> dict[str, Any]:
    """Values of the template for the scripts of the page, their data and the security policy."""
    scripts = [
        # 4.8 MB of every page: a page that loads Plotly from a CDN is blank offline, and tells the
        # CDN who reads it.
        get_plotlyjs(),
        *(html.read_resource("harness.report.page", name) for name in SCRIPTS),
    ]
    return {
        "policy": content_security_policy(scripts),
        "scripts": scripts,
        "data": script_json(study_page_data(tables)),
        "figures": script_json(figure_data(figures)),
    }


def _read_text_if_present(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def study_page_data(tables: StudyTables) -> dict[str, Any]:
    """Build the machine-readable data of the page, every number as the recorded float64.

    A large study is reduced to the trials that its figures draw; `n_trials` counts all of them.
    """
    drawn_numbers = downsample_trials(tables).numbers
    return {
        "study": tables.paths.name,
        "objective": tables.config.objective.model_dump(mode="json"),
        "n_trials": len(tables.records),
        "ranking": [record.number for record in ranked_records(tables)],
        "trials": [
            record.model_dump(mode="json", include=_PAGE_FIELDS)
            for record in tables.records
            if record.number in drawn_numbers
        ],
    }


def figure_data(figures: list[FigureSection]) -> list[dict[str, Any]]:
    """Plotly's JSON of each figure in the order of the page."""
    # Through text: only Plotly's own encoder handles its numpy arrays.
    charts = [chart for section in figures for chart in section.charts]
    return [json.loads(chart.figure.to_json()) for chart in charts]


def content_security_policy(scripts: list[str]) -> str:
    """Build the policy that forbids every request and every script except the page's own."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    # Plotly sets style attributes while it draws, which only 'unsafe-inline' permits. Scripts are
    # listed by hash, so that a text of the study that slips into the markup cannot run as code.
    # Pictures are data: URIs; blob: serves the picture that Plotly's download button builds.
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; {html.SELF_CONTAINED_POLICY}"
    )


def script_json(value: Any) -> str:
    """Encode JSON for the inside of a script element, so that no text in it can end the element."""
    # U+2028 and U+2029 are valid in JSON but ended a line of JavaScript before ES2019.
    # JSON.parse of browsers refuses NaN, so it must fail here and not on the reader's screen.
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
