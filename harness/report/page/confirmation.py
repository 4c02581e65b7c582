"""The report's section on what was confirmed."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.text import count, format_duration
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.results import Confirmation, ConfirmedConfiguration
from harness.evaluation.statistics.image_values import NATIVE_METRICS
from harness.report.figures.confirmation import confirmed_rows, draw_confirmation
from harness.report.figures.section import FigureSection, LabelledFigure
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.sheet_cells import SheetCell, SheetColumn
from harness.report.tables.sheets import ReportSheet
from harness.report.tables.study_tables import StudyTables, ranked_records

TITLE = "Confirmation"


@dataclass(frozen=True)
class ConfirmationSection:
    """What the template needs.

    Attributes:
        sheet: one row per configuration; without rows before there is a confirmation.
        section: the figure, or why there is none.
        sentence: what may be said; "" before there is a confirmation.
        notes: what belongs beside it.
        command: begins a confirmation, or goes on with it; "" where all is done.
        figure: the place of the figure among those of the page.
        decided: whether the sentence is what the comparison says.
        choice: the trial of the search whose configuration is offered; None before that.
    """

    sheet: ReportSheet
    section: FigureSection
    sentence: str
    notes: tuple[str, ...]
    command: str
    figure: int
    decided: bool = False
    choice: int | None = None


def build_confirmation_section(
    tables: StudyTables, previous_sections: Sequence[FigureSection] = ()
) -> ConfirmationSection:
    """Read the study's confirmation.

    Args:
        previous_sections: the sections whose figures come first in the page's data.
    """
    confirmation = load_confirmation(tables.paths)
    figure_index = sum(len(section.charts) for section in previous_sections)
    command = f"harness confirm --study {shlex.quote(tables.paths.name)}"
    if confirmation is None and not ranked_records(tables):
        empty = "Nothing is confirmed, and no trial is complete yet that could be trained again."
        return ConfirmationSection(
            ReportSheet((), ()), _section((), empty), "", (), "", figure_index
        )
    if confirmation is None:
        empty = (
            "Nothing is confirmed: the leading trial may owe its place to a lucky seed. This "
            "trains the best five configurations again on three fresh seeds and compares them:"
        )
        start_command = f"{command} --top 5 --seeds 3"
        return ConfirmationSection(
            ReportSheet((), ()), _section((), empty), "", (), start_command, figure_index
        )
    return ConfirmationSection(
        sheet=confirmation_sheet(confirmation),
        section=_section(_charts(confirmation, tables), "No confirming trial is complete yet."),
        sentence=confirmation.sentence[:1].upper() + confirmation.sentence[1:],
        notes=tuple(_notes(confirmation)),
        command="" if confirmation.ended == confirmation.wanted else command,
        figure=figure_index,
        decided=confirmation.decision is not None,
        choice=None if confirmation.choice is None else confirmation.choice.trial,
    )


def confirmation_sheet(confirmation: Confirmation) -> ReportSheet:
    """One row per configuration, best first."""
    columns = (
        SheetColumn("rank", "place by the confirmed mean"),
        SheetColumn("trial", "number in the search of the trial with this configuration"),
        SheetColumn("verdict", "better than every other, tied with the leader, or worse", ""),
        SheetColumn("confirmed", f"mean of the objective over {confirmation.kind}s"),
        SheetColumn("95 % interval", f"of that mean, over {confirmation.kind}s and images"),
        SheetColumn("searched", "objective of that trial in the search"),
        SheetColumn("optimism", "by how much the search flattered it; above 0: it did worse again"),
        SheetColumn(f"{confirmation.kind}s", f"complete ones of the {confirmation.parts} planned"),
        SheetColumn("deviation", f"standard deviation of the objective over {confirmation.kind}s"),
        *(
            SheetColumn(
                f"own {metric}", f"mean {metric} over images at their own sizes, not ranked by"
            )
            for metric in NATIVE_METRICS
        ),
        SheetColumn("parameters", "of the network"),
        SheetColumn("time", "mean seconds of a complete run"),
    )
    rows = tuple(
        _configuration_row(rank, row, confirmation)
        for rank, row in enumerate(confirmation.rows, start=1)
    )
    return ReportSheet(columns, rows)


def _configuration_row(
    rank: int, row: ConfirmedConfiguration, confirmation: Confirmation
) -> tuple[SheetCell, ...]:
    interval = SheetCell("–", "", "none: too few runs or images")
    if row.interval is not None:
        text = f"{row.interval.low:.4f} to {row.interval.high:.4f}"
        interval = SheetCell(
            text, repr(row.interval.low), f"{row.interval.low!r} to {row.interval.high!r}"
        )
    is_choice = confirmation.choice is not None and confirmation.choice.trial == row.trial
    verdict = row.verdict or "–"
    return (
        SheetCell(str(rank), str(rank)),
        SheetCell(str(row.trial), str(row.trial)),
        SheetCell(f"{verdict}, the choice" if is_choice else verdict, verdict),
        _number_cell(row.mean),
        interval,
        _number_cell(row.searched),
        _number_cell(row.optimism, "+.4f"),
        SheetCell(f"{len(row.values)} of {confirmation.parts}", str(len(row.values))),
        _number_cell(row.deviation),
        *(_number_cell(row.own.get(metric)) for metric in NATIVE_METRICS),
        SheetCell(f"{row.cost.parameters / 1e6:.2f} M", str(row.cost.parameters)),
        SheetCell(format_duration(row.cost.seconds), repr(row.cost.seconds)),
    )


def _number_cell(value: float | None, form: str = ".4f") -> SheetCell:
    return (
        SheetCell("–", "", "")
        if value is None
        else SheetCell(format(value, form), repr(value), repr(value))
    )


def _notes(confirmation: Confirmation) -> list[str]:
    notes = []
    failed = [run for row in confirmation.rows for run in row.runs if run.state == "failed"]
    if failed:
        notes.append(
            f"{count(len(failed), 'confirming trial')} failed and could not count, so the means of "
            "their configurations are of those that went well."
        )
    requirement = requirement_line(confirmation)
    return [*notes, requirement] if requirement else notes


def requirement_line(confirmation: Confirmation) -> str:
    """How much more a difference of one point would take; "" where that cannot be told."""
    if confirmation.decision is None:
        return ""
    seeds, images = confirmation.decision.needed_seeds, confirmation.decision.needed_images
    parts = [] if seeds is None else [f"{count(seeds, confirmation.kind)} of each configuration"]
    parts += [] if images is None else [count(images, "validation image")]
    return f"To tell a difference of one point (0.01): {', and '.join(parts)}." if parts else ""


def _charts(confirmation: Confirmation, tables: StudyTables) -> tuple[LabelledFigure, ...]:
    rows = confirmed_rows(confirmation)
    settings = tables.config.objective
    objective = ObjectiveLabel(
        settings.metric, settings.direction == "minimize", settings.is_builtin
    )
    label = (
        f"{objective.metric} of {count(len(rows), 'configuration')} on fresh {confirmation.kind}s"
    )
    return (
        (LabelledFigure(label, draw_confirmation(rows, confirmation.kind, objective)),)
        if rows
        else ()
    )


def _section(charts: tuple[LabelledFigure, ...], empty: str) -> FigureSection:
    caption = (
        "The best configurations of the search, trained again. Each dot is one training, the "
        "diamond their mean, the cross what the search saw: where it lies better than the dots, "
        "the search was lucky. Only this section speaks of configurations; all others speak of "
        "single trials."
    )
    return FigureSection("confirmation", TITLE, caption, charts, "one", "" if charts else empty)
