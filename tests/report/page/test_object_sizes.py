"""Objects by size on the page."""

from harness.report.page.object_sizes import collect_object_tables
from harness.report.predictions.gallery import PredictionGallery, build_gallery
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder


def test_leading_trial_from_its_saved_predictions(study: Builder) -> None:
    """A perfect prediction finds each of the eight discs of the validation images."""
    study.trial(0, [0.5], skill=1.0)
    tables = load_study_tables(study.paths)
    (table,) = collect_object_tables(tables, build_gallery(tables, study.data_root))
    assert table.title == "Objects of the validation images, trial 0"
    assert table.source.startswith("At 32 × 32 pixels, the size of the metrics, from the")
    assert "of 8 images" in table.source
    texts = [[cell.text for cell in row] for row in table.sheet.rows]
    assert sum(int(row[1]) for row in texts) == sum(int(row[2]) for row in texts) == 8
    assert {row[3] for row in texts} == {row[6] for row in texts} == {"1.000"}


def test_no_table_without_predictions(study: Builder) -> None:
    study.trial(0, [0.5])
    tables = load_study_tables(study.paths)
    assert collect_object_tables(tables, PredictionGallery((), ())) == []
