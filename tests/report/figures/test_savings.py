from harness.report.analysis.savings import measure_savings, trial_spendings
from harness.report.figures.savings import (
    draw_savings,
    draw_spending,
    effort_section,
    progress_section,
)
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.downsample import TrialSubset
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder

ALL = TrialSubset(range(99), "")
LOSS = ObjectiveLabel("val/dice_loss", minimized=True)


def test_bars_add_up_to_all_that_was_planned(tables: StudyTables) -> None:
    found = measure_savings(tables)
    assert found is not None
    figure = draw_savings(found)
    assert [trace.name for trace in figure.data] == [
        "trained, complete",
        "trained, pruned",
        "trained, failed",
        "saved by pruning",
    ]
    # 20 + 3 + 1 epochs trained; the pruned ones stopped after 2 and 1 of 4
    assert [round(trace.x[0] * 29 / 100) for trace in figure.data] == [20, 3, 1, 5]
    assert figure.layout.xaxis.title.text == "share of all planned (%)"


def test_time_has_a_unit_that_suits_it(tables: StudyTables) -> None:
    figure = draw_spending(trial_spendings(tables), LOSS, range(8))
    assert figure.layout.xaxis.title.text == "device time, summed over trials (s)"
    line = figure.data[0]
    assert (tuple(line.x)[-1], tuple(line.y)[-1]) == (12.0, 0.1234567890123456)


def test_without_pruning_only_the_line_is_drawn(study: Builder) -> None:
    study.trial(0, [0.5])
    tables = load_study_tables(study.paths)
    found = effort_section(tables)
    assert not found.charts
    assert found.empty.startswith("No trial was pruned, so pruning saved nothing.")
    assert len(progress_section(tables, LOSS, ALL).charts) == 1


def test_the_first_figure_says_when_the_best_value_came(tables: StudyTables) -> None:
    (chart,) = progress_section(tables, LOSS, ALL).charts
    assert chart.label == (
        "Trial 3 reached the best val/dice_loss, 0.1235, after 7 s of 12 s of device time; 2 of 8 "
        "trials were pruned."
    )
    _, complete, pruned, failed = chart.figure.data
    assert [trace.name for trace in (complete, pruned, failed)] == ["complete", "pruned", "failed"]
    assert complete.marker.symbol != pruned.marker.symbol
    assert list(pruned.customdata) == [2, 7]
