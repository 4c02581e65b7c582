"""Objects found and missed by size: of test runs, the confirmed choice, or the leading trial."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.paths import StudyPaths
from harness.core.text import count
from harness.evaluation.confirm.results import Confirmation
from harness.evaluation.held_out.ledger import TEST_SPLIT, read_held_out_ledger
from harness.evaluation.held_out.object_scores import SizeClassCounts, sum_size_classes
from harness.evaluation.held_out.recorded_objects import read_native_objects, read_test_objects
from harness.report.predictions.gallery import PredictionGallery
from harness.report.tables.sheet_cells import SheetCell, SheetColumn, integer_cell
from harness.report.tables.sheets import ReportSheet
from harness.report.tables.study_tables import StudyTables

_COLUMNS = (
    SheetColumn("size", "side of the square with the area of the object, in pixels", ""),
    SheetColumn("objects", "in the masks"),
    SheetColumn("found", "matched by a predicted object at an IoU above 0.5"),
    SheetColumn("recall", "found, as a share of the objects"),
    SheetColumn("predicted", "predicted objects of this size"),
    SheetColumn("correct", "matched by an object of the mask at an IoU above 0.5"),
    SheetColumn("precision", "correct, as a share of the predicted objects"),
)


@dataclass(frozen=True)
class ObjectSizeTable:
    """Objects of some images by size; `source` says of which, and which decisions."""

    title: str
    source: str
    sheet: ReportSheet


def collect_object_tables(
    tables: StudyTables, gallery: PredictionGallery, confirmation: Confirmation | None = None
) -> list[ObjectSizeTable]:
    """Tables of the latest run on the test images, and of the choice or the leading trial."""
    choice = _choice_table(tables.paths, confirmation) or _leader_table(tables, gallery)
    return [table for table in (_test_table(tables.paths), choice) if table is not None]


def object_sheet(counts: Sequence[SizeClassCounts]) -> ReportSheet:
    """One row for each size class that has objects, the smallest first."""
    rows = tuple(
        (
            SheetCell(row.name, f"{index:02d}"),
            integer_cell(row.n_true),
            integer_cell(row.n_found),
            _share_cell(row.recall),
            integer_cell(row.n_predicted),
            integer_cell(row.n_correct),
            _share_cell(row.precision),
        )
        for index, row in enumerate(counts)
    )
    return ReportSheet(_COLUMNS, rows)


def _share_cell(share: float | None) -> SheetCell:
    if share is None:
        return SheetCell("–", "", "no object of this size")
    return SheetCell(f"{share:.3f}", repr(share), repr(share))


def _test_table(paths: StudyPaths) -> ObjectSizeTable | None:
    tests = read_held_out_ledger(paths).tests
    test = next((t for t in reversed(tests) if t.start.data.name == TEST_SPLIT), None)
    counts = [] if test is None else read_test_objects(paths, test)
    if test is None or not counts:
        return None
    title = f"Objects of the test images, test run {test.number}"
    return ObjectSizeTable(title, "At native size, by the rule of that run.", object_sheet(counts))


def _choice_table(paths: StudyPaths, confirmation: Confirmation | None) -> ObjectSizeTable | None:
    choice = None if confirmation is None else confirmation.choice
    if choice is None:
        return None
    runs = read_native_objects(paths.confirm.trial(run.number) for run in choice.runs)
    if not runs:
        return None
    title = f"Objects of the validation images, confirmed configuration of trial {choice.trial}"
    source = f"At native size, decided at 0.5 or by argmax; sum of {count(len(runs), 'run')}."
    return ObjectSizeTable(title, source, object_sheet(sum_size_classes(runs)))


def _leader_table(tables: StudyTables, gallery: PredictionGallery) -> ObjectSizeTable | None:
    if not gallery.objects:
        return None
    size = tables.config.data.eval_size
    title = f"Objects of the validation images, {gallery.weights}"
    source = (
        f"At {size} × {size} pixels, the size of the metrics, from the saved predictions "
        f"of {count(gallery.n_compared, 'image')}; harness confirm measures at native size."
    )
    return ObjectSizeTable(title, source, object_sheet(gallery.objects))
