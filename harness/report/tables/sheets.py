"""Sheets of the report page: leaderboard, other trials, and failures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.config.components import RESERVED_NAMES
from harness.config.measurements import COSTS, LEADERBOARD_METRICS
from harness.core.records import TrialRecord
from harness.core.text import truncate
from harness.report.tables.learning_curve_cells import learning_curve_cells
from harness.report.tables.sheet_cells import (
    INACTIVE_CELL,
    SheetCell,
    SheetColumn,
    cost_cell,
    integer_cell,
    is_number,
    metric_cell,
    value_cell,
)
from harness.report.tables.study_tables import StudyTables, ranked_records

MAX_ROWS = 100  # rows of a sheet; the others are in trials.csv


@dataclass(frozen=True)
class ReportSheet:
    """A table of trials.

    Attributes:
        numbers: trial of each row; () if rows are not trials.
        total: number of trials of this kind, shown or not.
        note: a sentence about the selection; "" if all are shown.
    """

    columns: tuple[SheetColumn, ...]
    rows: tuple[tuple[SheetCell, ...], ...]
    total: int = 0
    note: str = ""
    numbers: tuple[int, ...] = ()


def ranking_sheet(tables: StudyTables) -> ReportSheet:
    """Complete trials, best first, at most MAX_ROWS."""
    all_ranked = ranked_records(tables)
    ranked = all_ranked[:MAX_ROWS]
    quality = _quality_keys(tables, ranked)
    costs = [key for key in COSTS if any(key in record.costs for record in ranked)]
    curves = learning_curve_cells(tables, ranked)
    columns = [
        SheetColumn("rank", "rank by the objective"),
        _TRIAL_COLUMN,
        *_label_columns(ranked),
        _objective_column(tables),
        _curve_column(tables),
        *(_quality_column(key) for key in quality),
        *_parameter_columns(tables, ranked),
        *_origin_columns(ranked),
        SheetColumn("best epoch", "epoch whose weights are kept, of the planned epochs"),
        *(SheetColumn(COSTS[key].heading, COSTS[key].hint) for key in costs),
    ]
    rows = [
        (
            integer_cell(rank),
            integer_cell(record.number),
            *_label_cells(ranked, record),
            metric_cell(record.value),
            curves[record.number],
            *(metric_cell(record.best.get(key)) for key in quality),
            *_parameter_cells(tables, record),
            *_origin_cells(ranked, record),
            SheetCell(f"{record.best_epoch} / {record.epochs}", str(record.best_epoch or "")),
            *(cost_cell(key, record.costs.get(key)) for key in costs),
        )
        for rank, record in enumerate(ranked, start=1)
    ]
    return _limited_sheet(columns, rows, "best", len(all_ranked), ranked)


def unranked_sheet(tables: StudyTables, state: str) -> ReportSheet:
    """Pruned or running trials, in order of number, with their progress.

    At most MAX_ROWS, those with the best values.
    """
    all_records = [record for record in tables.records if record.state == state]
    sort_key = tables.config.objective.sort_key
    by_value = sorted(
        all_records, key=lambda record: math.inf if record.value is None else sort_key(record.value)
    )
    # Selected by value but listed by number: values at different epochs are no ranking.
    selected = sorted(by_value[:MAX_ROWS], key=lambda record: record.number)
    # from the epoch logs: a running trial's record does not have its epochs yet
    epochs_done = tables.trials.set_index("number")["epochs_done"].to_dict()
    curves = learning_curve_cells(tables, selected)
    columns = [
        _TRIAL_COLUMN,
        *_label_columns(selected),
        SheetColumn("epochs", "epochs done, of the planned epochs"),
        SheetColumn(
            "best value so far", f"{tables.config.objective.metric} of the best epoch so far"
        ),
        _curve_column(tables),
        *_parameter_columns(tables, selected),
        *_origin_columns(selected),
    ]
    rows = [
        (
            integer_cell(record.number),
            *_label_cells(selected, record),
            SheetCell(
                f"{epochs_done[record.number]} / {record.epochs}", str(epochs_done[record.number])
            ),
            metric_cell(record.value),
            curves[record.number],
            *_parameter_cells(tables, record),
            *_origin_cells(selected, record),
        )
        for record in selected
    ]
    return _limited_sheet(columns, rows, "best", len(all_records), selected)


def failed_sheet(tables: StudyTables) -> ReportSheet:
    """Failed trials with cause and message, the last MAX_ROWS of them."""
    all_records = [record for record in tables.records if record.state == "failed"]
    # The last ones: earlier causes may have been repaired since.
    failed = all_records[-MAX_ROWS:]
    columns = [
        _TRIAL_COLUMN,
        SheetColumn("cause", "kind of failure, by what has to be changed", ""),
        SheetColumn("message", "error message of the trial", "wrap"),
        *_parameter_columns(tables, failed),
    ]
    rows = []
    for record in failed:
        cause, message = "", ""
        if record.failure:
            cause, message = record.failure.cause, record.failure.message
        texts = (
            SheetCell(cause, cause),
            SheetCell(truncate(message, 300), message, truncate(message, 2000)),
        )
        rows.append((integer_cell(record.number), *texts, *_parameter_cells(tables, record)))
    return _limited_sheet(columns, rows, "last", len(all_records), failed)


def _limited_sheet(
    columns: Sequence[SheetColumn],
    rows: Sequence[tuple[SheetCell, ...]],
    selection: str,
    total: int,
    records: Sequence[TrialRecord],
) -> ReportSheet:
    note = ""
    if total > len(rows):
        note = f"Shown are the {selection} {len(rows)} of {total}; all are in trials.csv."
    numbers = tuple(record.number for record in records)
    return ReportSheet(tuple(columns), tuple(rows), total, note, numbers)


_TRIAL_COLUMN = SheetColumn("trial", "number of the trial: studies/<name>/trials/<number>")


def _curve_column(tables: StudyTables) -> SheetColumn:
    return SheetColumn("curve", f"{tables.config.objective.metric} by epoch, all on one scale", "")


def _quality_keys(tables: StudyTables, ranked: Sequence[TrialRecord]) -> list[str]:
    objective = tables.config.objective.metric.replace("val/", "best/")
    recorded_keys = {key for record in ranked for key in record.best}
    standard_keys = [f"best/{name}" for name in LEADERBOARD_METRICS]
    builtin_keys = {f"best/{name}" for name in RESERVED_NAMES["metric"]}
    # Two slashes are values of single classes (best/dice/<class>), which have a sheet of their own.
    custom_keys = sorted(key for key in recorded_keys - builtin_keys if key.count("/") == 1)
    return [
        key for key in (*standard_keys, *custom_keys) if key in recorded_keys and key != objective
    ]


def _quality_column(key: str) -> SheetColumn:
    is_builtin = key.removeprefix("best/") in RESERVED_NAMES["metric"]
    hint = "at the best epoch, 0 to 1" if is_builtin else "at the best epoch; a user-defined metric"
    return SheetColumn(key.replace("best/", "val/"), hint)


def _objective_column(tables: StudyTables) -> SheetColumn:
    objective = tables.config.objective
    better = "lower" if objective.minimized else "higher"
    bounds_text = "0 to 1, " if objective.is_builtin else ""
    return SheetColumn(
        objective.metric, f"objective at the best epoch, {bounds_text}{better} is better"
    )


def _parameter_columns(tables: StudyTables, records: Sequence[TrialRecord]) -> list[SheetColumn]:
    """One column per parameter, titled without its common prefix: `arch`, not `model.arch`."""
    columns = []
    for key in tables.parameters:
        values = [record.params[key] for record in records if key in record.params]
        kind = "number" if values and all(is_number(value) for value in values) else ""
        columns.append(SheetColumn(key.removeprefix("model.").removeprefix("options."), key, kind))
    return columns


def _parameter_cells(tables: StudyTables, record: TrialRecord) -> list[SheetCell]:
    return [
        value_cell(record.params[key]) if key in record.params else INACTIVE_CELL
        for key in tables.parameters
    ]


def _label_columns(records: Sequence[TrialRecord]) -> list[SheetColumn]:
    """Columns of the labels that the rows of a CSV space have."""
    return [
        SheetColumn(truncate(name, 40), f"label of the CSV row: {name}", "")
        for name in _label_names(records)
    ]


def _label_cells(records: Sequence[TrialRecord], record: TrialRecord) -> list[SheetCell]:
    texts = [record.labels.get(name, "") for name in _label_names(records)]
    return [SheetCell(truncate(text, 40), text, text) for text in texts]


def _label_names(records: Sequence[TrialRecord]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record.labels))


def _origin_columns(records: Sequence[TrialRecord]) -> list[SheetColumn]:
    """Columns for repetitions, second chances and imported trials, if there are any."""
    columns = []
    if any(record.repeats is not None for record in records):
        columns.append(
            SheetColumn("repeats", "first trial with the same configuration apart from the seed")
        )
    if any(record.second_chance is not None for record in records):
        text = "epoch after which the pruner had stopped it; it continued once all trials had ended"
        columns.append(SheetColumn("second chance", text))
    if any(record.imported is not None for record in records):
        columns.append(SheetColumn("imported", "study and trial that it was imported from", ""))
    return columns


def _origin_cells(records: Sequence[TrialRecord], record: TrialRecord) -> list[SheetCell]:
    origins = {
        "repeats": record.repeats,
        "second chance": record.second_chance,
        "imported": record.imported,
    }
    texts = {name: "" if origin is None else str(origin) for name, origin in origins.items()}
    return [
        SheetCell(texts[column.title], texts[column.title]) for column in _origin_columns(records)
    ]
