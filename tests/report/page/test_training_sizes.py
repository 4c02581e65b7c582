"""Ceilings of training sizes on the page."""

from harness.data.scan.size_ceiling import CeilingTable, SizeCeiling, write_ceilings
from harness.report.page.page import render_report_page
from harness.report.page.training_sizes import training_size_values
from harness.report.predictions.gallery import PredictionGallery
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder

TABLE = CeilingTable(
    n_images=8,
    n_available=9,
    n_windows=0,
    longest_side=4000,
    seed=0,
    ceilings=(
        SizeCeiling(height=32, width=32, fit="stretch", dice=0.91, object_f1=0.75),
        SizeCeiling(height=16, width=16, fit="stretch", dice=0.5, object_f1=None),
    ),
)


def test_line_beside_the_result_is_of_its_training_size(study: Builder) -> None:
    study.trial(0, [0.5], skill=0.8)
    write_ceilings(study.paths.ceilings_json, TABLE)
    values = training_size_values(load_study_tables(study.paths), None)
    assert values["ceiling_line"].text == (
        "At the training size of trial 0, 32 × 32 pixels, a perfect network reaches Dice 0.910 "
        "and object F1 0.750 at native size. Images of up to 4,000 px lose 9.0 points of Dice to "
        "their resizing; train on windows at native size instead: data.tile.size: 128."
    )
    texts = [[cell.text for cell in row] for row in values["ceilings"].rows]
    assert texts == [
        ["32 x 32", "stretch", "0.910", "0.750"],
        ["16 x 16", "stretch", "0.500", "–"],
    ]
    orders = [row[0].order for row in values["ceilings"].rows]
    assert orders == ["1024", "256"]


def test_study_that_also_draws_tiles_is_not_advised_to_use_them(study: Builder) -> None:
    study.trial(0, [0.5], skill=0.8)
    write_ceilings(study.paths.ceilings_json, TABLE.model_copy(update={"has_tiles": True}))
    values = training_size_values(load_study_tables(study.paths), None)
    assert values["ceiling_line"].text.endswith("and object F1 0.750 at native size.")
    assert len(values["ceilings"].rows) == 2


def test_page_shows_the_table_or_nothing(study: Builder) -> None:
    study.trial(0, [0.5], skill=0.8)
    tables = load_study_tables(study.paths)
    page = render_report_page(tables, PredictionGallery((), ()))
    assert "Best that a network can reach" not in page and "Ceiling" not in page
    write_ceilings(study.paths.ceilings_json, TABLE)
    page = render_report_page(tables, PredictionGallery((), ()))
    assert "Best that a network can reach" in page and "<dt>Ceiling</dt>" in page
