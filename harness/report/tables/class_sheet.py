"""Sheet of the report page with Dice and IoU of each class."""

from collections import Counter
from collections.abc import Sequence

from harness.core.records import TrialRecord
from harness.report.tables.sheet_cells import (
    UNRECORDED_CELL,
    SheetCell,
    SheetColumn,
    integer_cell,
    metric_cell,
)
from harness.report.tables.sheets import ReportSheet
from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.training.metrics.image_scores import read_scores


def class_sheet(tables: StudyTables, n_trials: int = 3) -> ReportSheet:
    """Each class with its number of images, and its Dice and IoU in the leading trials.

    No rows in two-class tasks, or if no trial is complete.
    """
    data, ranked = tables.config.data, ranked_records(tables)[:n_trials]
    if data.task == "binary" or not ranked:
        return ReportSheet((), ())
    columns = [
        SheetColumn("class", "as in study.yaml", ""),
        SheetColumn("images", "validation images whose truth contains the class"),
        *_class_metric_columns(ranked),
    ]
    image_counts = _images_per_class(tables)
    rows = [
        (
            SheetCell(name, name),
            UNRECORDED_CELL if image_counts is None else integer_cell(image_counts.get(index, 0)),
            *_class_metric_cells(ranked, name),
        )
        for index, name in enumerate(data.classes)
    ]
    return ReportSheet(tuple(columns), tuple(rows))


def _class_metric_columns(ranked: Sequence[TrialRecord]) -> list[SheetColumn]:
    hint = "trial {} at its best epoch, 0 to 1; the mean over those images"
    return [
        SheetColumn(f"{name}, trial {record.number}", hint.format(record.number))
        for record in ranked
        for name in ("Dice", "IoU")
    ]


def _class_metric_cells(ranked: Sequence[TrialRecord], name: str) -> list[SheetCell]:
    keys = (f"best/dice/{name}", f"best/iou/{name}")
    return [metric_cell(record.best.get(key)) for record in ranked for key in keys]


def _images_per_class(tables: StudyTables) -> dict[int, int] | None:
    """Images per class, from the best trial that has scores: the truth is the same in all."""
    # The truth is a property of the images, so any trial with
    # scores serves; imported ones may lack them.
    for record in ranked_records(tables):
        path = tables.paths.trial(record.number).scores_csv
        if path.is_file():
            scores = read_scores(path)
            return Counter(scores.class_index[scores.has_truth].tolist())
    return None
