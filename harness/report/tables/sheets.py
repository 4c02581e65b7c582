"""The tables of the page: cells know what to show, what to sort by, what is exact."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.config.components import RESERVED_NAMES
from harness.config.measurements import COSTS, LEADERBOARD_METRICS
from harness.core.records import TrialRecord
from harness.core.text import truncate
from harness.report.tables.sheet_cells import (
    INACTIVE_CELL,
    UNRECORDED_CELL,
    SheetCell,
    SheetColumn,
    cost_cell,
    integer_cell,
    is_number,
    metric_cell,
    value_cell,
)
from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.training.metrics.image_scores import read_scores

MAX_ROWS = 100  # of a table: more are in trials.csv


@dataclass(frozen=True)
class ReportSheet:
    """A table of trials; `note` says which of them it shows where it does not show all.

    Attributes:
        total: how many there are.
    """

    columns: tuple[SheetColumn, ...]
    rows: tuple[tuple[SheetCell, ...], ...]
    total: int = 0
    note: str = ""


def ranking_sheet(tables: StudyTables) -> ReportSheet:
    """Complete trials, best first, the first MOST_ROWS of them."""
    all_ranked = ranked_records(tables)
    ranked = all_ranked[:MAX_ROWS]
    quality = _quality_keys(tables, ranked)
    costs = [key for key in COSTS if any(key in record.costs for record in ranked)]
    columns = [
        SheetColumn("rank", "place by the objective"),
        _TRIAL_COLUMN,
        *_label_columns(ranked),
        _objective_column(tables),
        *(_quality_column(key) for key in quality),
        *_parameter_columns(tables, ranked),
        *_origin_columns(ranked),
        SheetColumn("best epoch", "epoch whose weights are kept, of those planned"),
        *(SheetColumn(COSTS[key].heading, COSTS[key].hint) for key in costs),
    ]
    rows = [
        (
            integer_cell(rank),
            integer_cell(record.number),
            *_label_cells(ranked, record),
            metric_cell(record.value),
            *(metric_cell(record.best.get(key)) for key in quality),
            *_parameter_cells(tables, record),
            *_origin_cells(ranked, record),
            SheetCell(f"{record.best_epoch} / {record.epochs}", str(record.best_epoch or "")),
            *(cost_cell(key, record.costs.get(key)) for key in costs),
        )
        for rank, record in enumerate(ranked, start=1)
    ]
    return _limited_sheet(columns, rows, "best", len(all_ranked))


def unranked_sheet(tables: StudyTables, state: str) -> ReportSheet:
    """Trials that are pruned or running, in order of number, with how far they came.

    Of more than MOST_ROWS those with the best values.
    """
    all_records = [record for record in tables.records if record.state == state]
    sort_key = tables.config.objective.sort_key
    by_value = sorted(
        all_records, key=lambda record: math.inf if record.value is None else sort_key(record.value)
    )
    selected = sorted(by_value[:MAX_ROWS], key=lambda record: record.number)
    epochs_done = tables.trials.set_index("number")["epochs_done"].to_dict()
    columns = [
        _TRIAL_COLUMN,
        *_label_columns(selected),
        SheetColumn("epochs", "epochs done, of those planned"),
        SheetColumn(
            "best value so far", f"{tables.config.objective.metric}: best epoch that was run"
        ),
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
            *_parameter_cells(tables, record),
            *_origin_cells(selected, record),
        )
        for record in selected
    ]
    return _limited_sheet(columns, rows, "best", len(all_records))


def failed_sheet(tables: StudyTables) -> ReportSheet:
    """Failed trials with cause and message, the last MOST_ROWS of them."""
    all_records = [record for record in tables.records if record.state == "failed"]
    failed = all_records[-MAX_ROWS:]
    columns = [
        _TRIAL_COLUMN,
        SheetColumn("cause", "sorted by what has to change", ""),
        SheetColumn("message", "the last words of the trial", "wrap"),
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
    return _limited_sheet(columns, rows, "last", len(all_records))


def class_sheet(tables: StudyTables, n_trials: int = 3) -> ReportSheet:
    """Each class with the number of images that have it, and its Dice and IoU in leading trials.

    No rows in two-class tasks and where no trial is complete.
    """
    data, ranked = tables.config.data, ranked_records(tables)[:n_trials]
    if data.task == "binary" or not ranked:
        return ReportSheet((), ())
    columns = [
        SheetColumn("class", "as in study.yaml", ""),
        SheetColumn("images", "validation images whose truth has it"),
    ]
    for record in ranked:
        for name in ("Dice", "IoU"):
            hint = f"trial {record.number} at its best epoch, 0 to 1; the mean over those images"
            columns.append(SheetColumn(f"{name}, trial {record.number}", hint))
    image_counts = _images_per_class(tables)
    rows = [
        (
            SheetCell(name, name),
            UNRECORDED_CELL if image_counts is None else integer_cell(image_counts.get(index, 0)),
            *(
                metric_cell(record.best.get(f"best/{metric}/{name}"))
                for record in ranked
                for metric in ("dice", "iou")
            ),
        )
        for index, name in enumerate(data.classes)
    ]
    return ReportSheet(tuple(columns), tuple(rows))


def _images_per_class(tables: StudyTables) -> dict[int, int] | None:
    """From the best trial that has scores: the truth is the same in all."""
    for record in ranked_records(tables):
        path = tables.paths.trial(record.number).scores_csv
        if path.is_file():
            scores = read_scores(path)
            return Counter(scores.class_index[scores.has_truth].tolist())
    return None


def _limited_sheet(
    columns: Sequence[SheetColumn],
    rows: Sequence[tuple[SheetCell, ...]],
    selection: str,
    total: int,
) -> ReportSheet:
    note = ""
    if total > len(rows):
        note = f"The {selection} {len(rows)} of {total} are shown; all are in trials.csv."
    return ReportSheet(tuple(columns), tuple(rows), total, note)


_TRIAL_COLUMN = SheetColumn("trial", "number of the trial: studies/<name>/trials/<number>")


def _quality_keys(tables: StudyTables, ranked: Sequence[TrialRecord]) -> list[str]:
    objective = tables.config.objective.metric.replace("val/", "best/")
    recorded_keys = {key for record in ranked for key in record.best}
    standard_keys = [f"best/{name}" for name in LEADERBOARD_METRICS]
    builtin_keys = {f"best/{name}" for name in RESERVED_NAMES["metric"]}
    custom_keys = sorted(key for key in recorded_keys - builtin_keys if key.count("/") == 1)
    return [
        key for key in (*standard_keys, *custom_keys) if key in recorded_keys and key != objective
    ]


def _quality_column(key: str) -> SheetColumn:
    is_builtin = key.removeprefix("best/") in RESERVED_NAMES["metric"]
    hint = (
        "at the best epoch, 0 to 1"
        if is_builtin
        else "at the best epoch; a metric of the study's own"
    )
    return SheetColumn(key.replace("best/", "val/"), hint)


def _objective_column(tables: StudyTables) -> SheetColumn:
    objective = tables.config.objective
    better = "lower" if objective.minimized else "higher"
    bounds_text = "0 to 1, " if objective.is_builtin else ""
    return SheetColumn(
        objective.metric, f"objective at the best epoch, {bounds_text}{better} is better"
    )


def _parameter_columns(tables: StudyTables, records: Sequence[TrialRecord]) -> list[SheetColumn]:
    """Full keys, but for the group that everybody knows: `arch`, not `model.arch`."""
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
    """Tags of the rows of a CSV."""
    return [
        SheetColumn(truncate(name, 40), f"tag of the row: {name}", "")
        for name in _label_names(records)
    ]


def _label_cells(records: Sequence[TrialRecord], record: TrialRecord) -> list[SheetCell]:
    texts = [record.labels.get(name, "") for name in _label_names(records)]
    return [SheetCell(truncate(text, 40), text, text) for text in texts]


def _label_names(records: Sequence[TrialRecord]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record.labels))


def _origin_columns(records: Sequence[TrialRecord]) -> list[SheetColumn]:
    """Repetitions and imported trials, where there are any."""
    columns = []
    if any(record.repeats is not None for record in records):
        columns.append(
            SheetColumn("repeats", "first trial with the same configuration, seed aside")
        )
    if any(record.imported is not None for record in records):
        columns.append(SheetColumn("imported", "study and trial that it was taken from", ""))
    return columns


def _origin_cells(records: Sequence[TrialRecord], record: TrialRecord) -> list[SheetCell]:
    origins = {"repeats": record.repeats, "imported": record.imported}
    texts = {name: "" if origin is None else str(origin) for name, origin in origins.items()}
    return [
        SheetCell(texts[column.title], texts[column.title]) for column in _origin_columns(records)
    ]
