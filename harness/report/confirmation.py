"""The report's section on what was confirmed."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from harness.evaluation.confirmed import Confirmation, Confirmed, load_confirmation
from harness.evaluation.values import OWN_METRICS
from harness.report.figures.chart import Chart, Section
from harness.report.figures.confirmation import confirmed_rows, draw_confirmation
from harness.report.figures.style import Objective
from harness.report.sheets import Cell, Column, Sheet
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import count, duration

TITLE = "Confirmation"


@dataclass(frozen=True)
class ConfirmationPart:
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

    sheet: Sheet
    section: Section
    sentence: str
    notes: tuple[str, ...]
    command: str
    figure: int
    decided: bool = False
    choice: int | None = None


def confirmation_part(tables: StudyTables, before: Sequence[Section] = ()) -> ConfirmationPart:
    """Read the study's confirmation.

    Args:
        before: the sections whose figures come first in the page's data.
    """
    found = load_confirmation(tables.paths)
    place = sum(len(section.charts) for section in before)
    command = f"harness confirm --study {shlex.quote(tables.paths.name)}"
    if found is None and not ranked_records(tables):
        empty = "Nothing is confirmed, and no trial is complete yet that could be trained again."
        return ConfirmationPart(Sheet((), ()), _section((), empty), "", (), "", place)
    if found is None:
        empty = (
            "Nothing is confirmed: the leading trial may owe its place to a lucky seed. This "
            "trains the best five configurations again on three fresh seeds and compares them:"
        )
        begin = f"{command} --top 5 --seeds 3"
        return ConfirmationPart(Sheet((), ()), _section((), empty), "", (), begin, place)
    return ConfirmationPart(
        sheet=confirmation_sheet(found),
        section=_section(_charts(found, tables), "No confirming trial is complete yet."),
        sentence=found.sentence[:1].upper() + found.sentence[1:],
        notes=tuple(_notes(found)),
        command="" if found.ended == found.wanted else command,
        figure=place,
        decided=found.decision is not None,
        choice=None if found.choice is None else found.choice.trial,
    )


def confirmation_sheet(found: Confirmation) -> Sheet:
    """One row per configuration, best first."""
    columns = (
        Column("rank", "place by the confirmed mean"),
        Column("trial", "number in the search of the trial with this configuration"),
        Column("verdict", "better than every other, tied with the leader, or worse", ""),
        Column("confirmed", f"mean of the objective over {found.kind}s"),
        Column("95 % interval", f"of that mean, over {found.kind}s and images"),
        Column("searched", "objective of that trial in the search"),
        Column("optimism", "by how much the search flattered it; above 0: it did worse again"),
        Column(f"{found.kind}s", f"complete ones of the {found.parts} planned"),
        Column("deviation", f"standard deviation of the objective over {found.kind}s"),
        *(
            Column(f"own {metric}", f"mean {metric} over images at their own sizes, not ranked by")
            for metric in OWN_METRICS
        ),
        Column("parameters", "of the network"),
        Column("time", "mean seconds of a complete run"),
    )
    rows = tuple(_row(rank, row, found) for rank, row in enumerate(found.rows, start=1))
    return Sheet(columns, rows)


def _row(rank: int, row: Confirmed, found: Confirmation) -> tuple[Cell, ...]:
    interval = Cell("–", "", "none: too few runs or images")
    if row.interval is not None:
        text = f"{row.interval.low:.4f} to {row.interval.high:.4f}"
        interval = Cell(
            text, repr(row.interval.low), f"{row.interval.low!r} to {row.interval.high!r}"
        )
    chosen = found.choice is not None and found.choice.trial == row.trial
    verdict = row.verdict or "–"
    return (
        Cell(str(rank), str(rank)),
        Cell(str(row.trial), str(row.trial)),
        Cell(f"{verdict}, the choice" if chosen else verdict, verdict),
        _number(row.mean),
        interval,
        _number(row.searched),
        _number(row.optimism, "+.4f"),
        Cell(f"{len(row.values)} of {found.parts}", str(len(row.values))),
        _number(row.deviation),
        *(_number(row.own.get(metric)) for metric in OWN_METRICS),
        Cell(f"{row.cost.parameters / 1e6:.2f} M", str(row.cost.parameters)),
        Cell(duration(row.cost.seconds), repr(row.cost.seconds)),
    )


def _number(value: float | None, form: str = ".4f") -> Cell:
    return (
        Cell("–", "", "") if value is None else Cell(format(value, form), repr(value), repr(value))
    )


def _notes(found: Confirmation) -> list[str]:
    notes = []
    failed = [run for row in found.rows for run in row.runs if run.state == "failed"]
    if failed:
        notes.append(
            f"{count(len(failed), 'confirming trial')} failed and could not count, so the means of "
            "their configurations are of those that went well."
        )
    needed = needed_line(found)
    return [*notes, needed] if needed else notes


def needed_line(found: Confirmation) -> str:
    """How much more a difference of one point would take; "" where that cannot be told."""
    if found.decision is None:
        return ""
    seeds, images = found.decision.needed_seeds, found.decision.needed_images
    parts = [] if seeds is None else [f"{count(seeds, found.kind)} of each configuration"]
    parts += [] if images is None else [count(images, "validation image")]
    return f"To tell a difference of one point (0.01): {', and '.join(parts)}." if parts else ""


def _charts(found: Confirmation, tables: StudyTables) -> tuple[Chart, ...]:
    rows = confirmed_rows(found)
    settings = tables.config.objective
    objective = Objective(settings.metric, settings.direction == "minimize", settings.is_ours)
    label = f"{objective.metric} of {count(len(rows), 'configuration')} on fresh {found.kind}s"
    return (Chart(label, draw_confirmation(rows, found.kind, objective)),) if rows else ()


def _section(charts: tuple[Chart, ...], empty: str) -> Section:
    caption = (
        "The best configurations of the search, trained again. Each dot is one training, the "
        "diamond their mean, the cross what the search saw: where it lies better than the dots, "
        "the search was lucky. Only this section speaks of configurations; all others speak of "
        "single trials."
    )
    return Section("confirmation", TITLE, caption, charts, "one", "" if charts else empty)
