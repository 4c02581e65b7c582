"""The tables of the page: cells know what to show, what to sort by, what is exact."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.parts import RESERVED
from harness.records import TrialRecord
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import duration, short, text_of
from harness.training.metrics import read_scores

MOST_ROWS = 100  # of a table: more are in trials.csv


@dataclass(frozen=True)
class Column:
    """A heading; `hint` is the full name and unit; `kind` is number, wrap (long texts) or ""."""

    title: str
    hint: str
    kind: str = "number"


@dataclass(frozen=True)
class Cell:
    """What is shown; `order` is what sorting compares ("" sorts last); `exact`: all digits."""

    text: str
    order: str
    exact: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table of trials; `note` says which of them it shows where it does not show all.

    Attributes:
        total: how many there are.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: int = 0
    note: str = ""


_ABSENT = Cell("–", "", "not in force")
_UNKNOWN = Cell("", "", "not recorded")


def ranking_sheet(tables: StudyTables) -> Sheet:
    """Complete trials, best first, the first MOST_ROWS of them."""
    every = ranked_records(tables)
    ranked = every[:MOST_ROWS]
    quality = _quality_keys(tables, ranked)
    costs = [key for key in _COSTS if any(key in record.costs for record in ranked)]
    columns = [
        Column("rank", "place by the objective"),
        _TRIAL,
        *_label_columns(ranked),
        _objective_column(tables),
        *(_quality_column(key) for key in quality),
        *_parameter_columns(tables, ranked),
        *_mark_columns(ranked),
        Column("best epoch", "epoch whose weights are kept, of those planned"),
        *(Column(_COSTS[key][0], _COSTS[key][1]) for key in costs),
    ]
    rows = [
        (
            _whole(rank),
            _whole(record.number),
            *_label_cells(ranked, record),
            _share(record.value),
            *(_share(record.best.get(key)) for key in quality),
            *_parameter_cells(tables, record),
            *_mark_cells(ranked, record),
            Cell(f"{record.best_epoch} / {record.epochs}", str(record.best_epoch or "")),
            *(_cost(key, record.costs.get(key)) for key in costs),
        )
        for rank, record in enumerate(ranked, start=1)
    ]
    return _sheet(columns, rows, "best", len(every))


def unranked_sheet(tables: StudyTables, state: str) -> Sheet:
    """Trials that are pruned or running, in order of number, with how far they came.

    Of more than MOST_ROWS those with the best values.
    """
    every = [record for record in tables.records if record.state == state]
    sign = 1.0 if tables.minimized else -1.0
    best = sorted(every, key=lambda one: math.inf if one.value is None else sign * one.value)
    some = sorted(best[:MOST_ROWS], key=lambda one: one.number)
    done = tables.trials.set_index("number")["epochs_done"].to_dict()
    columns = [
        _TRIAL,
        *_label_columns(some),
        Column("epochs", "epochs done, of those planned"),
        Column("best value so far", f"{tables.config.objective.metric}: best epoch that was run"),
        *_parameter_columns(tables, some),
        *_mark_columns(some),
    ]
    rows = [
        (
            _whole(record.number),
            *_label_cells(some, record),
            Cell(f"{done[record.number]} / {record.epochs}", str(done[record.number])),
            _share(record.value),
            *_parameter_cells(tables, record),
            *_mark_cells(some, record),
        )
        for record in some
    ]
    return _sheet(columns, rows, "best", len(every))


def failed_sheet(tables: StudyTables) -> Sheet:
    """Failed trials with cause and message, the last MOST_ROWS of them."""
    every = [record for record in tables.records if record.state == "failed"]
    failed = every[-MOST_ROWS:]
    columns = [
        _TRIAL,
        Column("cause", "sorted by what has to change", ""),
        Column("message", "the last words of the trial", "wrap"),
        *_parameter_columns(tables, failed),
    ]
    rows = []
    for record in failed:
        cause, message = "", ""
        if record.failure:
            cause, message = record.failure.cause, record.failure.message
        texts = (Cell(cause, cause), Cell(short(message, 300), message, short(message, 2000)))
        rows.append((_whole(record.number), *texts, *_parameter_cells(tables, record)))
    return _sheet(columns, rows, "last", len(every))


def class_sheet(tables: StudyTables, n_trials: int = 3) -> Sheet:
    """Each class with the number of images that have it, and its Dice and IoU in leading trials.

    No rows in two-class tasks and where no trial is complete.
    """
    data, ranked = tables.config.data, ranked_records(tables)[:n_trials]
    if data.task == "binary" or not ranked:
        return Sheet((), ())
    columns = [
        Column("class", "as in study.yaml", ""),
        Column("images", "validation images whose truth has it"),
    ]
    for record in ranked:
        for name in ("Dice", "IoU"):
            hint = f"trial {record.number} at its best epoch, 0 to 1; the mean over those images"
            columns.append(Column(f"{name}, trial {record.number}", hint))
    having = _images_having(tables)
    rows = [
        (
            Cell(name, name),
            _UNKNOWN if having is None else _whole(having.get(index, 0)),
            *(
                _share(record.best.get(f"best/{metric}/{name}"))
                for record in ranked
                for metric in ("dice", "iou")
            ),
        )
        for index, name in enumerate(data.classes)
    ]
    return Sheet(tuple(columns), tuple(rows))


def _images_having(tables: StudyTables) -> dict[int, int] | None:
    """From the best trial that has scores: the truth is the same in all."""
    for record in ranked_records(tables):
        path = tables.paths.trial(record.number).scores_csv
        if path.is_file():
            scores = read_scores(path)
            return Counter(scores.class_index[scores.has_truth].tolist())
    return None


def _sheet(
    columns: Sequence[Column], rows: Sequence[tuple[Cell, ...]], which: str, total: int
) -> Sheet:
    note = ""
    if total > len(rows):
        note = f"The {which} {len(rows)} of {total} are shown; all are in trials.csv."
    return Sheet(tuple(columns), tuple(rows), total, note)


_TRIAL = Column("trial", "number of the trial: studies/<name>/trials/<number>")
_COSTS = {
    "cost/parameters": ("parameters", "number of weights of the network"),
    "cost/gflops": ("GFLOP", "work of one forward pass of one image"),
    "cost/seconds": ("time", "training and validation of the whole trial"),
    "cost/peak_mb": ("memory", "peak memory in MB"),
    "cost/ms_per_image": ("ms / image", "median time of a forward pass of one image"),
}


def _quality_keys(tables: StudyTables, ranked: Sequence[TrialRecord]) -> list[str]:
    objective = tables.config.objective.metric.replace("val/", "best/")
    known = {key for record in ranked for key in record.best}
    wanted = ("best/dice", "best/iou", "best/miou", "best/precision", "best/recall")
    ours = {f"best/{name}" for name in RESERVED["metric"]}
    others = sorted(key for key in known - ours if key.count("/") == 1)
    return [key for key in (*wanted, *others) if key in known and key != objective]


def _quality_column(key: str) -> Column:
    ours = key.removeprefix("best/") in RESERVED["metric"]
    hint = "at the best epoch, 0 to 1" if ours else "at the best epoch; a metric of the study's own"
    return Column(key.replace("best/", "val/"), hint)


def _objective_column(tables: StudyTables) -> Column:
    objective = tables.config.objective
    better = "lower" if objective.direction == "minimize" else "higher"
    between = "0 to 1, " if objective.is_ours else ""
    return Column(objective.metric, f"objective at the best epoch, {between}{better} is better")


def _parameter_columns(tables: StudyTables, records: Sequence[TrialRecord]) -> list[Column]:
    """Full keys, but for the group that everybody knows: `arch`, not `model.arch`."""
    columns = []
    for key in tables.parameters:
        values = [record.params[key] for record in records if key in record.params]
        kind = "number" if values and all(_is_number(value) for value in values) else ""
        columns.append(Column(key.removeprefix("model.").removeprefix("options."), key, kind))
    return columns


def _parameter_cells(tables: StudyTables, record: TrialRecord) -> list[Cell]:
    return [
        _value(record.params[key]) if key in record.params else _ABSENT for key in tables.parameters
    ]


def _label_columns(records: Sequence[TrialRecord]) -> list[Column]:
    """Tags of the rows of a CSV."""
    return [Column(short(name, 40), f"tag of the row: {name}", "") for name in _labels(records)]


def _label_cells(records: Sequence[TrialRecord], record: TrialRecord) -> list[Cell]:
    texts = [record.labels.get(name, "") for name in _labels(records)]
    return [Cell(short(text, 40), text, text) for text in texts]


def _labels(records: Sequence[TrialRecord]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record.labels))


def _mark_columns(records: Sequence[TrialRecord]) -> list[Column]:
    """Repetitions and imported trials, where there are any."""
    columns = []
    if any(record.repeats is not None for record in records):
        columns.append(Column("repeats", "first trial with the same configuration, seed aside"))
    if any(record.imported is not None for record in records):
        columns.append(Column("imported", "study and trial that it was taken from", ""))
    return columns


def _mark_cells(records: Sequence[TrialRecord], record: TrialRecord) -> list[Cell]:
    marks = {"repeats": record.repeats, "imported": record.imported}
    texts = {name: "" if mark is None else str(mark) for name, mark in marks.items()}
    return [Cell(texts[column.title], texts[column.title]) for column in _mark_columns(records)]


def _value(value: Any) -> Cell:
    exact = repr(value) if _is_number(value) else text_of(value)
    return Cell(short(text_of(value), 40), exact, exact)


def _whole(value: int) -> Cell:
    return Cell(str(value), str(value))


def _share(value: float | None) -> Cell:
    """A metric: four places shown, all of them on hovering."""
    return _UNKNOWN if value is None else Cell(f"{value:.4f}", repr(value), repr(value))


def _cost(key: str, value: float | None) -> Cell:
    if value is None:
        return _UNKNOWN
    shown = {
        "cost/parameters": f"{value / 1e6:.2f} M",
        "cost/gflops": f"{value:.3g}",
        "cost/seconds": duration(value),
        "cost/peak_mb": f"{value:,.0f} MB",
        "cost/ms_per_image": f"{value:.3g}",
    }[key]
    return Cell(shown, repr(value), repr(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
