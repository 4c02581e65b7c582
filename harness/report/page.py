"""`report.html`: one file that needs nothing else, not even a network."""

import base64
import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from harness import files, html
from harness.config import StudyConfig
from harness.data.encode import data_uri
from harness.data.overlay import COLOURS, unpainted
from harness.data.palette import CLASS_COLOURS, VOID_COLOUR, Colour
from harness.data.splits import SplitRow, read_split
from harness.data_config import StudyDataConfig
from harness.paths import StudyPaths
from harness.report.figures.charts import Section, sections
from harness.report.gallery import Gallery, build_gallery
from harness.report.sheets import class_sheet, failed_sheet, ranking_sheet, unranked_sheet
from harness.report.summary import summary_lines
from harness.report.tables import (
    StudyTables,
    best_configuration,
    load_study,
    ranked_records,
    write_trials_csv,
)
from harness.search.curve_control import control_line


def write_report(paths: StudyPaths, data_root: Path | None, *, images: bool = True) -> Path:
    """Write `report.html` and `trials.csv`, each whole or not at all.

    Args:
        data_root: where the images of split.csv lie; None: not found, and the page says so.
        images: whether to show sample predictions.

    Returns:
        The path of report.html.

    Raises:
        ConfigError, DataError: a file of the study is not what it should be.
    """
    tables = load_study(paths)
    if images:
        gallery = build_gallery(tables, data_root)
    else:
        gallery = Gallery((), ("Sample predictions were left out of this report.",))
    page = render_page(tables, gallery)
    write_trials_csv(tables, paths.trials_csv)
    files.write_text(paths.report_html, page)
    return paths.report_html


def render_page(tables: StudyTables, gallery: Gallery) -> str:
    """The whole page as text."""
    split = read_split(tables.paths.split_csv) if tables.paths.split_csv.is_file() else []
    figures = sections(tables)
    scripts = [get_plotlyjs(), html.part("harness.report", "page.js")]
    ranked = ranked_records(tables)
    return html.render(
        "harness.report",
        {"data_uri": data_uri},
        name=tables.paths.name,
        objective=tables.config.objective,
        task=tables.config.data.task,
        policy=_policy(scripts),
        scripts=scripts,
        data=_json(page_data(tables)),
        figures=_json(_figure_data(figures)),
        lines=summary_lines(tables, split),
        headline=_headline(tables),
        ranking=ranking_sheet(tables),
        pruned=unranked_sheet(tables, "pruned"),
        running=unranked_sheet(tables, "running"),
        failed=failed_sheet(tables),
        classes=class_sheet(tables),
        best=best_configuration(tables),
        best_number=ranked[0].number if ranked else None,
        sections=figures,
        gallery=gallery,
        overlay_text=_overlay_text(tables.config.data),
        legend={name: "#{:02x}{:02x}{:02x}".format(*rgb) for name, rgb in _legend(tables)},
        definition=_definition(tables, split),
        stamps=_stamps(tables),
        study_yaml=tables.paths.study_yaml.read_text(encoding="utf-8"),
        space_yaml=_text(tables.paths.space_yaml),
        command=_command(tables),
        again=_again(tables),
        beside_command=_beside_command(tables),
    )


def page_data(tables: StudyTables) -> dict[str, Any]:
    """What the page carries for other programs: every number as the float64 that was recorded."""
    return {
        "study": tables.paths.name,
        "objective": tables.config.objective.model_dump(mode="json"),
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
        ],
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


def _overlay_text(data: StudyDataConfig) -> str:
    if data.task == "binary":
        return "Hits, misses and false alarms"
    return "Classes, wrong pixels hatched,"


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


def _definition(tables: StudyTables, split: list[SplitRow]) -> list[tuple[str, str]]:
    config = tables.config
    roles = {role: sum(row.role == role for row in split) for role in ("train", "val", "test")}
    counts = ", ".join(f"{n} {role}" for role, n in roles.items()) if split else "not found"
    return [
        ("data", f"{config.data.root}: {' / '.join(config.data.classes)}"),
        ("split", f"{counts} (seed {config.split.seed})"),
        ("metrics at", f"{config.data.eval_size} × {config.data.eval_size} pixels"),
        ("objective", f"{config.objective.metric}, {config.objective.direction}"),
        ("sampler", config.sampler.name),
        ("pruner", control_line(tables.paths, config) or config.pruner.name),
        ("trials wanted", str(config.budget.trials or "not limited")),
        ("seed", str(config.seed)),
    ]


def _stamps(tables: StudyTables) -> list[tuple[str, str]]:
    """Device, precision, code and versions; several values where trials differ in them."""
    found: dict[str, dict[str, None]] = {}
    for record in tables.records:
        stamps = {"device": record.device, "precision": record.precision}
        stamps |= {"git commit": record.git_commit, **dict(sorted(record.versions.items()))}
        for name, value in stamps.items():
            if value is not None:
                found.setdefault(name, {})[value] = None
    return [(name, ", ".join(values)) for name, values in found.items()]


def _again(tables: StudyTables) -> str:
    """The name under which the study is repeated."""
    return f"{tables.paths.name[:57]}-again"


def _command(tables: StudyTables) -> str:
    """The command that repeats this study under another name."""
    config = tables.config
    finished = sum(record.state != "running" for record in tables.records)
    words = ["harness", "run", "--study", _again(tables)]
    words += ["--space", f"studies/{tables.paths.name}/space.yaml", "--data", config.data.root]
    words += ["--trials", str(config.budget.trials or max(finished, 1))]
    words += ["--sampler", config.sampler.name, "--pruner", config.pruner.name]
    words += ["--seed", str(config.seed)]
    if config.parts is not None:
        words += ["--parts", f"studies/{tables.paths.name}/{config.parts.file}"]
    own = tables.space.get("fixed") or {}
    for plan in config.imports:
        words += ["--from", plan.study]
    for key, value in config.fixed.items():
        if key not in own or own[key] != value:
            words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def _beside_command(tables: StudyTables) -> list[str]:
    """What no option of the command sets, only a study.yaml, where it is not at its default."""
    groups = {"data": {"root"}, "split": set(), "objective": set(), "sampler": {"name"}}
    groups |= {"pruner": {"name"}, "limits": set()}
    plain = StudyConfig()
    return [
        f"{group}.{key}: {json.dumps(value)}"
        for group, in_command in groups.items()
        for key, value in getattr(tables.config, group).model_dump(mode="json").items()
        if key not in in_command and value != getattr(plain, group).model_dump(mode="json").get(key)
    ]


def _figure_data(figures: list[Section]) -> list[dict[str, Any]]:
    """Plotly's JSON of each figure, in the order of the page."""
    charts = [chart for section in figures for chart in section.charts]
    return [json.loads(chart.figure.to_json()) for chart in charts]


def _policy(scripts: list[str]) -> str:
    """Nothing may be fetched, and no script runs but the ones the page was written with."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    # Plotly sets styles as it draws, which only 'unsafe-inline' allows; pictures are data addresses
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; {html.ALONE}"
    )


def _json(value: Any) -> str:
    """JSON that can stand between script tags: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
