"""Section "Confirmation" of the page: the leading configurations trained again on new seeds."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from harness.config.measurements import BUILTIN_METRICS, COSTS, PRIMARY_METRICS
from harness.core.text import count, is_or_are
from harness.evaluation.confirm.results import Confirmation, ConfirmedConfiguration
from harness.report.figures.confirmation import (
    confirmation_sentence,
    confirmed_rows,
    draw_confirmation,
)
from harness.report.figures.section import FigureSection, LabelledFigure
from harness.report.figures.style import ObjectiveLabel
from harness.report.page.cleanup import DecisionRuleView, build_rule_view
from harness.report.tables.sheet_cells import SheetCell, SheetColumn
from harness.report.tables.sheets import ReportSheet
from harness.report.tables.study_tables import StudyTables, ranked_records

TITLE = "Confirmation"


@dataclass(frozen=True)
class ConfirmationSection:
    """Contents of the section.

    Attributes:
        sheet: one row per configuration; no rows before a confirmation.
        section: the figure, or the reason for its absence.
        sentence: result of the comparison; "" before a confirmation.
        notes: remarks below the table.
        command: starts or continues a confirmation; "" if it is complete.
        figure: index of the figure among all figures of the page.
        decided: True if the comparison has a result.
        choice: trial of the search with the chosen configuration; None before a result.
        rule: frozen decision rule of the choice; None if there is none.
    """

    sheet: ReportSheet
    section: FigureSection
    sentence: str
    notes: tuple[str, ...]
    command: str
    figure: int
    decided: bool = False
    choice: int | None = None
    rule: DecisionRuleView | None = None


def build_confirmation_section(
    tables: StudyTables,
    confirmation: Confirmation | None,
    previous_sections: Sequence[FigureSection] = (),
) -> ConfirmationSection:
    """Build the section from the confirmation of a study; None before it was started.

    Args:
        previous_sections: sections before this one, whose figures are counted to get the index of
            its figure.
    """
    # All figures of the page are one array of JSON; the template refers to them by index.
    figure_index = sum(len(section.charts) for section in previous_sections)
    command = f"harness confirm --study {shlex.quote(tables.paths.name)}"
    if confirmation is None and not ranked_records(tables):
        empty = "No confirmation yet, and no complete trial whose configuration could be confirmed."
        return ConfirmationSection(
            ReportSheet((), ()), _section((), empty), "", (), "", figure_index
        )
    if confirmation is None:
        empty = (
            "No confirmation yet: the leading trial may be first only because of a lucky seed. "
            "This command trains the best five configurations again on three new seeds and "
            "compares them:"
        )
        start_command = f"{command} --top 5 --seeds 3"
        return ConfirmationSection(
            ReportSheet((), ()), _section((), empty), "", (), start_command, figure_index
        )
    return ConfirmationSection(
        sheet=confirmation_sheet(confirmation),
        section=_section(
            _charts(confirmation, tables), "No trial of the confirmation is complete."
        ),
        sentence=confirmation.sentence[:1].upper() + confirmation.sentence[1:],
        notes=tuple(_notes(confirmation)),
        command="" if confirmation.ended == confirmation.wanted else command,
        figure=figure_index,
        decided=confirmation.decision is not None,
        choice=None if confirmation.choice is None else confirmation.choice.trial,
        rule=build_rule_view(tables.paths, confirmation, tables.config.data),
    )


def confirmation_sheet(confirmation: Confirmation) -> ReportSheet:
    """One row per configuration, best first."""
    rows = tuple(
        _configuration_row(rank, row, confirmation)
        for rank, row in enumerate(confirmation.rows, start=1)
    )
    return ReportSheet(_configuration_columns(f"{confirmation.kind}s", confirmation.parts), rows)


def _configuration_columns(runs: str, n_planned: int) -> tuple[SheetColumn, ...]:
    own_hint = "mean {} over images at native size; not used for the rank"
    return (
        SheetColumn("rank", "rank by the confirmed mean"),
        SheetColumn("trial", "number of the trial of the search with this configuration"),
        SheetColumn("verdict", "better than every other, tied with the leader, or worse", ""),
        SheetColumn("confirmed", f"mean of the objective over {runs}"),
        SheetColumn("95 % interval", f"of that mean, over {runs} and images"),
        SheetColumn("searched", "objective of that trial in the search"),
        SheetColumn("optimism", "searched against confirmed; above 0: worse when trained again"),
        SheetColumn(runs, f"complete out of {n_planned} planned"),
        SheetColumn("deviation", f"standard deviation of the objective over {runs}"),
        *(
            SheetColumn(f"native {BUILTIN_METRICS[name].title}", own_hint.format(name))
            for name in PRIMARY_METRICS
        ),
        SheetColumn("parameters", "weights of the network"),
        SheetColumn("time", "mean training time of a complete run"),
    )


def _configuration_row(
    rank: int, row: ConfirmedConfiguration, confirmation: Confirmation
) -> tuple[SheetCell, ...]:
    parameters = row.cost.parameters
    is_choice = confirmation.choice is not None and confirmation.choice.trial == row.trial
    verdict = row.verdict or "–"
    return (
        SheetCell(str(rank), str(rank)),
        SheetCell(str(row.trial), str(row.trial)),
        # Sorted by the verdict alone: the choice is one of the
        # tied or the winner, not a class of its own.
        SheetCell(f"{verdict}, the choice" if is_choice else verdict, verdict),
        _number_cell(row.mean),
        _interval_cell(row),
        _number_cell(row.searched),
        _number_cell(row.optimism, "+.4f"),
        SheetCell(f"{len(row.values)} of {confirmation.parts}", str(len(row.values))),
        _number_cell(row.deviation),
        *(_number_cell(row.own.get(metric)) for metric in PRIMARY_METRICS),
        SheetCell(COSTS["cost/parameters"].format(parameters), str(parameters)),
        SheetCell(COSTS["cost/seconds"].format(row.cost.seconds), repr(row.cost.seconds)),
    )


def _interval_cell(row: ConfirmedConfiguration) -> SheetCell:
    if row.interval is None:
        return SheetCell("–", "", "too few runs or images for an interval")
    low, high = row.interval.low, row.interval.high
    return SheetCell(f"{low:.4f} to {high:.4f}", repr(low), f"{low!r} to {high!r}")


def _number_cell(value: float | None, form: str = ".4f") -> SheetCell:
    return (
        SheetCell("–", "", "")
        if value is None
        else SheetCell(format(value, form), repr(value), repr(value))
    )


def _notes(confirmation: Confirmation) -> list[str]:
    notes = []
    # Failed runs are not poor runs: the mean over the others flatters a configuration that often
    # fails, so their number is reported.
    failed = [run for row in confirmation.rows for run in row.runs if run.state == "failed"]
    if failed:
        notes.append(
            f"{count(len(failed), 'confirmation trial')} failed and {is_or_are(len(failed))} "
            "excluded from the means of the configurations."
        )
    requirement = requirement_line(confirmation)
    return [*notes, requirement] if requirement else notes


def requirement_line(confirmation: Confirmation) -> str:
    """Number of seeds and images that would resolve a difference of one point; "" if unknown."""
    if confirmation.decision is None:
        return ""
    seeds, images = confirmation.decision.needed_seeds, confirmation.decision.needed_images
    parts = [] if seeds is None else [f"{count(seeds, confirmation.kind)} of each configuration"]
    parts += [] if images is None else [count(images, "validation image")]
    needed = ", and ".join(parts)
    return f"Needed to resolve a difference of one point (0.01): {needed}." if parts else ""


def _charts(confirmation: Confirmation, tables: StudyTables) -> tuple[LabelledFigure, ...]:
    rows = confirmed_rows(confirmation)
    objective = ObjectiveLabel.from_config(tables.config)
    label = confirmation_sentence(rows, confirmation.kind, objective) if rows else ""
    return (
        (LabelledFigure(label, draw_confirmation(rows, confirmation.kind, objective)),)
        if rows
        else ()
    )


def _section(charts: tuple[LabelledFigure, ...], empty: str) -> FigureSection:
    caption = (
        "The best configurations of the search, trained again. Each dot is one training run, the "
        "diamond is their mean, and the cross is the value in the search: if the cross is better "
        "than the dots, the search was lucky. Only this section compares configurations; all "
        "others compare single trials."
    )
    return FigureSection("confirmation", TITLE, caption, charts, "one", "" if charts else empty)
