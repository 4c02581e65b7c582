"""Best metrics that each training size allows, for the section on the data and the summary."""

from typing import Any

from harness.data.scan.size_ceiling import CeilingTable, SizeCeiling, read_ceilings
from harness.inspection.ceiling_text import (
    CEILING_COLUMNS,
    ceiling_meaning,
    ceiling_rows,
    loss_sentence,
    resizing_sentence,
)
from harness.report.page.headline import SummaryLine
from harness.report.tables.sheet_cells import SheetCell, SheetColumn
from harness.report.tables.sheets import ReportSheet
from harness.report.tables.study_tables import StudyTables, ranked_records, trial_settings

_HINTS = (
    "height × width in pixels at which a trial trains",
    "method of reaching it",
    "at native size, of a network that reproduces each training mask exactly",
    "F1 of its objects, matched at an IoU above 0.5",
)


def training_size_values(tables: StudyTables, choice: int | None) -> dict[str, Any]:
    """Values of the template: the table, and the line of the result; both None without a record.

    Args:
        choice: trial of the confirmed configuration; None: the leading trial.
    """
    table = read_ceilings(tables.paths.ceilings_json)
    if table is None or not table.ceilings:
        return {"ceilings": None, "ceiling_line": None}
    return {"ceilings": _sheet(table), "ceiling_line": _result_line(tables, table, choice)}


def _sheet(table: CeilingTable) -> ReportSheet:
    columns = [
        SheetColumn(title, hint, "" if k < 2 else "number")
        for k, (title, hint) in enumerate(zip(CEILING_COLUMNS, _HINTS, strict=True))
    ]
    # Sorted by pixels: "1024 x 1024" would otherwise come before "256 x 256".
    orders = [
        (str(c.height * c.width), c.fit, repr(c.dice), repr(c.object_f1)) for c in table.ceilings
    ]
    rows = tuple(
        tuple(SheetCell(text, order) for text, order in zip(cells, keys, strict=True))
        for cells, keys in zip(ceiling_rows(table), orders, strict=True)
    )
    return ReportSheet(tuple(columns), rows, len(rows), ceiling_meaning(table))


def _result_line(
    tables: StudyTables, table: CeilingTable, choice: int | None
) -> SummaryLine | None:
    """Sentence beside the result: the ceiling of the trial that it comes from."""
    ranked = ranked_records(tables)
    if not ranked:
        return None
    record = ranked[0] if choice is None else tables.record(choice)
    ceiling = _find_ceiling(table, trial_settings(tables, record))
    if ceiling is None:
        return None
    objects = "" if ceiling.object_f1 is None else f" and object F1 {ceiling.object_f1:.3f}"
    text = (
        f"At the training size of trial {record.number}, {ceiling.height} × {ceiling.width} "
        f"pixels, a perfect network reaches Dice {ceiling.dice:.3f}{objects} at native size."
    )
    loss = resizing_sentence(table) if ceiling == table.best else loss_sentence(table)
    return SummaryLine("Ceiling", text if loss is None else f"{text} {loss[0].upper()}{loss[1:]}.")


def _find_ceiling(table: CeilingTable, settings: dict[str, Any]) -> SizeCeiling | None:
    if settings.get("data.tile.size") is not None:
        return None
    size = settings.get("data.image_size")
    pair = [size, size] if isinstance(size, int) else list(size or [])
    for ceiling in table.ceilings:
        is_size = [ceiling.height, ceiling.width] == pair
        if is_size and ceiling.fit == settings.get("data.fit", "stretch"):
            return ceiling
    return None
