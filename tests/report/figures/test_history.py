from harness.report.figures.history import draw_history, history_rows
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder


def test_only_complete_trials_move_the_best(study: Builder) -> None:
    for number, (loss, state) in enumerate(
        [(0.1, "pruned"), (0.5, "complete"), (0.6, "complete"), (0.2, "failed"), (0.3, "complete")]
    ):
        study.trial(number, [loss], state=state)
    rows = history_rows(load_study_tables(study.paths))
    assert [row.best for row in rows] == [None, 0.5, 0.5, 0.5, 0.3]
    assert [row.value for row in rows] == [0.1, 0.5, 0.6, 0.2, 0.3]


def test_pruned_trials_are_marked_apart(tables: StudyTables) -> None:
    figure = draw_history(history_rows(tables), ObjectiveLabel("val/dice_loss", True))
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces) == ["best so far", "complete", "pruned", "failed"]
    assert tuple(traces["pruned"].x) == (2, 7) and traces["pruned"].marker.symbol == "x"
    assert tuple(traces["complete"].x) == (0, 1, 3, 4, 6)
    assert figure.layout.xaxis.title.text == "trial"
    assert figure.layout.yaxis.title.text == "val/dice_loss<br>(0 to 1, lower is better)"


def test_axis_says_that_higher_is_better() -> None:
    assert ObjectiveLabel("val/dice", minimized=False).title.endswith("higher is better)")
