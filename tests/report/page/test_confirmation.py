from pathlib import Path

import pytest

from harness.report.figures.confirmation import ConfirmedRow, confirmed_rows, draw_confirmation
from harness.report.figures.style import ObjectiveLabel
from harness.report.page.confirmation import build_confirmation_section
from harness.report.page.page import render_report_page
from harness.report.predictions.gallery import PredictionGallery
from harness.report.tables.study_tables import load_study_tables
from tests.evaluation.confirm.test_load_confirmation import found, plan_of, spread
from tests.evaluation.confirming import a_search, begun, failed, trained


def test_without_one_it_says_what_to_type(tmp_path: Path) -> None:
    tables = load_study_tables(a_search(tmp_path).paths)
    part = build_confirmation_section(tables, None)
    assert part.command == "harness confirm --study tiny --top 5 --seeds 3"
    assert part.section.charts == () and not part.decided
    page = render_report_page(tables, PredictionGallery((), ()))
    assert "No confirmation yet" in page and part.command in page


def test_page_tells_what_was_confirmed(tmp_path: Path) -> None:
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 3)
    begun(paths, plan)
    for number, loss in enumerate([0.26, 0.40, 0.28, 0.41, 0.30]):
        trained(paths, plan, number, spread(loss))
    tables = load_study_tables(paths)
    part = build_confirmation_section(tables, found(paths))
    assert not part.decided and part.command == "harness confirm --study tiny"
    page = render_report_page(tables, PredictionGallery((), ()), confirmation=found(paths))
    assert part.sentence not in page.split('id="confirmation"')[0]
    assert "Leading, not confirmed" in page
    failed(paths, plan, 5)

    part = build_confirmation_section(tables, found(paths))
    assert part.decided and part.command == "" and part.sentence.startswith("Trial 1 is better")
    texts = [[cell.text for cell in row] for row in part.sheet.rows]
    first, second = texts
    assert first[:4] == ["1", "1", "better, the choice", "0.2800"]
    assert first[5:9] == ["0.2000", "+0.0800", "3 of 3", "0.0200"]
    assert [second[place] for place in (2, 3, 5, 7)] == ["worse", "0.4050", "0.2500", "2 of 3"]
    assert "1 confirmation trial failed and is excluded from the means" in part.notes[0]
    page = render_report_page(tables, PredictionGallery((), ()), confirmation=found(paths))
    top = page.split("<main")[0]
    assert '<p class="badge confirmed">Confirmed</p>' in top
    assert "is better than every other" in top and "Leading" not in top
    assert "val/dice_loss, mean of 3 seeds" in top and "0.2800" in top and "95 %: 0." in top


def test_figure_has_a_dot_for_each_run_and_a_cross_for_the_search(tmp_path: Path) -> None:
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 2)
    begun(paths, plan)
    for number, loss in enumerate([0.21, 0.45, 0.23, 0.47]):
        trained(paths, plan, number, spread(loss))
    rows = confirmed_rows(found(paths))
    assert [(row.trial, row.searched) for row in rows] == [(1, 0.2), (2, 0.25)]
    assert rows[0].values == ((0, pytest.approx(0.21)), (1, pytest.approx(0.23)))
    figure = draw_confirmation(rows, "seed", ObjectiveLabel("val/dice_loss", True))
    dots, means, crosses = figure.data
    assert list(dots.x) == ["trial 1", "trial 1", "trial 2", "trial 2"]
    assert list(dots.y) == pytest.approx([0.21, 0.23, 0.45, 0.47])
    assert list(means.y) == pytest.approx([0.22, 0.46])
    assert list(crosses.y) == [0.2, 0.25]
    assert figure.layout.yaxis.title.text == "val/dice_loss<br>(0 to 1, lower is better)"


def test_a_mean_without_interval_has_no_bar() -> None:
    row = ConfirmedRow(3, None, ((0, 0.5),), 0.5, None, None)
    _, means, crosses = draw_confirmation([row], "fold", ObjectiveLabel("val/dice", False)).data
    assert list(means.error_y.array) == [0.0] and list(crosses.y) == []
