"""`report.html`: one file that needs nothing else, not even a network."""

from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from harness import files, html
from harness.data.encode import data_uri
from harness.data.overlay import COLOURS, unpainted
from harness.data.palette import CLASS_COLOURS, VOID_COLOUR, Colour
from harness.data.splits import SplitRow, read_split
from harness.data_config import StudyDataConfig
from harness.paths import StudyPaths
from harness.report.answer import Confirmed, Line, answer_lines
from harness.report.baseline import Against, against
from harness.report.confirmation import ConfirmationPart, confirmation_part
from harness.report.data_facts import data_facts
from harness.report.embedding import as_json, figure_data, page_data, policy
from harness.report.failures import failures_sheet
from harness.report.figures.chart import Section
from harness.report.figures.charts import sections
from harness.report.gallery import Gallery, build_gallery
from harness.report.looks import looks_section
from harness.report.methods import division, methods
from harness.report.panels import probability_scale
from harness.report.reproduction import again, beside_command, command, requirements, stamps
from harness.report.sheets import class_sheet, failed_sheet, ranking_sheet, unranked_sheet
from harness.report.summary import summary_lines
from harness.report.tables import (
    StudyTables,
    best_configuration,
    load_study,
    ranked_records,
    write_trials_csv,
)
from harness.report.traps import traps
from harness.report.weights import weights_part
from harness.search.curve_control import control_line

SCRIPTS = ("page.js", "zoom.js")


def write_report(
    paths: StudyPaths,
    data_root: Path | None,
    *,
    images: bool = True,
    baseline: StudyPaths | None = None,
) -> Path:
    """Write `report.html` and `trials.csv`, each whole or not at all.

    Args:
        data_root: where the images of split.csv lie; None: not found, and the page says so.
        images: whether to show sample predictions.
        baseline: a study whose leading trial the leading trial of this one is compared with.

    Returns:
        The path of report.html.

    Raises:
        ConfigError, DataError: a file of the study is not what it should be, or the baseline
            cannot be compared with it; nothing is written then.
    """
    tables = load_study(paths)
    compared = against(tables, load_study(baseline)) if baseline is not None else None
    if images:
        gallery = build_gallery(tables, data_root)
    else:
        gallery = Gallery((), ("Sample predictions were left out of this report.",))
    page = render_page(tables, gallery, data_root, compared)
    write_trials_csv(tables, paths.trials_csv)
    files.write_text(paths.report_html, page)
    return paths.report_html


def render_page(
    tables: StudyTables,
    gallery: Gallery,
    data_root: Path | None = None,
    compared: Against | None = None,
) -> str:
    """The whole page as text; arguments as in `write_report`."""
    split = read_split(tables.paths.split_csv) if tables.paths.split_csv.is_file() else []
    figures = sections(tables)
    confirmation = confirmation_part(tables, figures)
    test = looks_section(tables.paths, split, images=bool(gallery.images))
    return html.render(
        "harness.report",
        {"data_uri": data_uri},
        name=tables.paths.name,
        objective=tables.config.objective,
        task=tables.config.data.task,
        sections=figures,
        confirmation=confirmation,
        test=test,
        **_header(tables, split, confirmation, test.n_looks, compared),
        **_trials(tables, confirmation.choice),
        **_pictures(tables, gallery),
        **_study(tables, split, data_root),
        data_facts=data_facts(tables, split, data_root, gallery.shapes),
        methods=methods(tables, split, data_root),
        **_embedded(tables, [*figures, confirmation.section]),
    )


def _header(
    tables: StudyTables,
    split: list[SplitRow],
    confirmation: ConfirmationPart,
    n_looks: int,
    compared: Against | None,
) -> dict[str, Any]:
    confirmed = Confirmed(confirmation.sentence, n_looks) if confirmation.decided else None
    beside = [] if compared is None else [Line("Baseline", compared.sentence)]
    return {
        "headline": _headline(tables),
        "answer": answer_lines(tables, split, confirmed),
        "traps": traps(tables),
        "lines": [*summary_lines(tables, split), *beside],
    }


def _trials(tables: StudyTables, choice: int | None) -> dict[str, Any]:
    """The tables and the leading configuration."""
    ranked = ranked_records(tables)
    return {
        "weights": weights_part(tables, ranking_sheet(tables)),
        "pruned": unranked_sheet(tables, "pruned"),
        "running": unranked_sheet(tables, "running"),
        "failed": failed_sheet(tables),
        "failures": failures_sheet(tables),
        "classes": class_sheet(tables),
        "best": best_configuration(tables, choice),
        "best_number": choice if choice is not None else ranked[0].number if ranked else None,
    }


def _pictures(tables: StudyTables, gallery: Gallery) -> dict[str, Any]:
    return {
        "gallery": gallery,
        "overlay_text": _overlay_text(tables.config.data),
        "legend": {name: _hex(rgb) for name, rgb in _legend(tables)},
        "scale": [_hex(rgb) for rgb in probability_scale()],
    }


def _study(tables: StudyTables, split: list[SplitRow], data_root: Path | None) -> dict[str, Any]:
    """The definition and how to repeat it."""
    return {
        "definition": _definition(tables, split, data_root),
        "stamps": stamps(tables),
        "requirements": requirements(tables),
        "study_yaml": tables.paths.study_yaml.read_text(encoding="utf-8"),
        "space_yaml": _text(tables.paths.space_yaml),
        "command": command(tables),
        "again": again(tables),
        "beside_command": beside_command(tables),
    }


def _embedded(tables: StudyTables, figures: list[Section]) -> dict[str, Any]:
    """The scripts of the page and their data."""
    scripts = [get_plotlyjs(), *(html.part("harness.report", name) for name in SCRIPTS)]
    return {
        "policy": policy(scripts),
        "scripts": scripts,
        "data": as_json(page_data(tables)),
        "figures": as_json(figure_data(figures)),
    }


def _legend(tables: StudyTables) -> list[tuple[str, Colour]]:
    """What the colours of sample predictions mean."""
    data = tables.config.data
    if data.task == "binary":
        meanings = list(COLOURS.items())
    else:
        plain = unpainted(data.classes)
        meanings = [
            (name, CLASS_COLOURS[k]) for k, name in enumerate(data.classes) if k not in plain
        ]
    return [*meanings, ("does not count", VOID_COLOUR)] if data.has_void else meanings


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _overlay_text(data: StudyDataConfig) -> str:
    if data.task == "binary":
        return "hits, misses and false alarms"
    return "classes, wrong pixels hatched,"


def _headline(tables: StudyTables) -> list[tuple[str, str]]:
    """The leading trial's numbers in large type."""
    ranked = ranked_records(tables)
    if not ranked:
        return []
    metric = tables.config.objective.metric
    shown: list[tuple[str, str]] = [(metric, f"{ranked[0].value:.4f}")]
    for key in ("best/dice", "best/iou", "best/miou"):
        name = key.replace("best/", "val/")
        if key in ranked[0].best and name != metric:
            shown.append((name, f"{ranked[0].best[key]:.4f}"))
    return [("leading trial", str(ranked[0].number)), *shown]


def _definition(
    tables: StudyTables, split: list[SplitRow], data_root: Path | None
) -> list[tuple[str, str]]:
    config = tables.config
    roles = {role: sum(row.role == role for row in split) for role in ("train", "val", "test")}
    counts = ", ".join(f"{n} {role}" for role, n in roles.items()) if split else "not found"
    return [
        ("data", f"{config.data.root}: {' / '.join(config.data.classes)}"),
        ("split", f"{counts} ({division(tables, split, data_root)})"),
        ("metrics at", f"{config.data.eval_size} × {config.data.eval_size} pixels"),
        ("objective", f"{config.objective.metric}, {config.objective.direction}"),
        ("sampler", config.sampler.name),
        ("pruner", control_line(tables.paths, config) or config.pruner.name),
        ("trials wanted", str(config.budget.trials or "not limited")),
        ("seed", str(config.seed)),
    ]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
