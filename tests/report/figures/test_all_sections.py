import pytest

from harness.report.figures.all_sections import report_sections
from harness.report.figures.section import FigureSection
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder

ANCHORS = [
    "progress",
    "history",
    "effort",
    "curves",
    "importances",
    "budget",
    "parallel",
    "slices",
    "contour",
    "cost",
    "strata",
]


@pytest.fixture(scope="module")
def drawn(tables: StudyTables) -> list[FigureSection]:
    return report_sections(tables)


def test_all_figures_of_a_study(drawn: list[FigureSection]) -> None:
    found = {section.anchor: section for section in drawn}
    assert list(found) == ANCHORS
    assert [len(section.charts) for section in found.values()] == [1, 1, 1, 2, 0, 2, 1, 5, 0, 5, 1]
    assert [anchor for anchor, section in found.items() if section.empty] == [
        "importances",
        "contour",
    ]
    assert found["contour"].empty.startswith(
        "Needs two numeric parameters with an importance above chance; found none in 5 "
    )
    assert found["importances"].empty.startswith(
        "No parameter has an importance above chance: 5 of 5 parameters "
    )
    assert "With 5 complete trials only large effects" in found["importances"].empty
    assert "Failed trials: 1." in found["history"].caption
    assert [mark.name for mark in found["cost"].legend] == ["Linknet", "Unet"]


def test_each_figure_has_a_sentence_of_its_own(drawn: list[FigureSection]) -> None:
    labels = [chart.label for section in drawn for chart in section.charts]
    assert all((label.endswith(".") and label[0].isupper()) or "." in label for label in labels)
    assert len(set(labels)) == len(labels)
    found = {section.anchor: section.gist for section in drawn}
    assert found["history"] == (
        "Trial 3 has the best val/dice_loss, 0.1235; of 8 trials, 5 complete, 2 pruned and 1 "
        "failed."
    )
    assert found["curves"] == (
        "val/dice_loss of trial 3 went from 0.5000 to 0.1235, its best, in its last epoch: longer "
        "training may improve it."
    )
    assert found["parallel"] == ("The best 2 of 5 complete trials share no choice.")
    assert found["slices"] == (
        "model.arch Unet has the best median val/dice_loss, 0.3000 of 3 complete trials."
    )
    assert found["cost"] == (
        "Trial 3 has the best val/dice_loss, 0.1235 (parameters 4.00 M); trial 0 is the cheapest "
        "(1.00 M), 0.2765 behind."
    )


def test_an_empty_study_has_sentences_instead(study: Builder) -> None:
    found = report_sections(load_study_tables(study.paths))
    assert [section.anchor for section in found] == ANCHORS
    assert all(section.empty.endswith(".") and not section.charts for section in found)


def test_each_figure_with_axes_names_both(drawn: list[FigureSection]) -> None:
    for section in drawn:
        for chart in section.charts if section.anchor not in ("parallel",) else ():
            assert chart.figure.layout.xaxis.title.text and chart.figure.layout.yaxis.title.text


def test_too_few_trials_for_importances_says_how_many(study: Builder) -> None:
    study.trial(0, [0.5], {"optim.lr": 1e-3})
    found = {
        section.anchor: section.empty for section in report_sections(load_study_tables(study.paths))
    }
    assert found["importances"] == (
        "Importances need 5 complete trials that differ; this study has 1."
    )
    assert found["parallel"] == "Needs two complete trials that differ in a parameter."
