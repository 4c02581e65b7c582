import numpy as np
import pytest

from harness.report.figures.strata import (
    SizeStratum,
    dice_by_size,
    draw_strata,
    size_class_index,
    strata_section,
)
from harness.report.tables.study_tables import StudyTables, load_study_tables
from harness.training.metrics.image_scores import scores_from_entries, write_scores
from tests.report.studies import Builder


def test_edges_belong_above() -> None:
    shares = np.array([0.0099, 0.01, 0.05, 0.0501, 0.15, 0.9])
    assert size_class_index(shares).tolist() == [0, 1, 2, 2, 3, 3]


def test_dice_by_size_by_hand(study: Builder) -> None:
    """Of 32 x 32 = 1024 pixels: 8 (0.8 %), 8 and 512 (50 %); one image has nothing to find."""
    study.trial(0, [0.5])
    study.trial(1, [0.6])
    entries = [
        (1, "a.png", 1, 8.0, 8.0, 8.0, 8, 0, 0, 1016),
        (2, "b.png", 1, 4.0, 8.0, 8.0, 4, 4, 4, 1012),
        (3, "c.png", 1, 0.0, 9.0, 0.0, 0, 9, 0, 1015),
        (4, "d.png", 1, 256.0, 256.0, 512.0, 256, 0, 256, 512),
    ]
    write_scores(study.paths.trial(0).scores_csv, scores_from_entries(entries))
    rows = dice_by_size(load_study_tables(study.paths))
    assert [(row.number, row.n) for row in rows] == [(0, 2), (0, 0), (0, 0), (0, 1)]
    assert rows[0].dice == pytest.approx((1.0 + 0.5) / 2)
    assert rows[1].dice is None
    assert rows[3].dice == pytest.approx(2 / 3)


def test_the_section_counts_images_and_names_sizes_that_are_few(tables: StudyTables) -> None:
    found = strata_section(tables)
    (chart,) = found.charts
    assert [trace.name for trace in chart.figure.data] == ["trial 3", "trial 4", "trial 6"]
    assert "Fewer than 10 images, so a hint at most: " in found.caption
    assert sum(row.n for row in dice_by_size(tables) if row.number == 3) == 8


def test_bars_say_their_number_of_images() -> None:
    figure = draw_strata([SizeStratum(7, "< 1 %", 0.25, 3), SizeStratum(7, "> 15 %", 0.75, 9)])
    assert tuple(figure.data[0].text) == ("0.25<br>n 3", "0.75<br>n 9")
    assert figure.layout.xaxis.title.text == "foreground share of the image (%)"


def test_without_scores_it_says_what_is_missing(study: Builder) -> None:
    study.trial(0, [0.5])
    assert "best/scores.csv" in strata_section(load_study_tables(study.paths)).empty
